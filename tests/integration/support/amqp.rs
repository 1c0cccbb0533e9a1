//! AMQP 0-9-1 as no client library writes it: names, properties and header tables are bytes, and nobody checks them.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::platform::PATIENCE;
use super::rabbitmq::RabbitMq;

/// The type of a frame.
const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const FRAME_END: u8 = 0xce;
/// What a frame has around its payload.
const AROUND: usize = 8;

/// A method, by its class and its number.
type Method = (u16, u16);
const CONNECTION_START: Method = (10, 10);
const CONNECTION_START_OK: Method = (10, 11);
const CONNECTION_TUNE: Method = (10, 30);
const CONNECTION_TUNE_OK: Method = (10, 31);
const CONNECTION_OPEN: Method = (10, 40);
const CONNECTION_OPEN_OK: Method = (10, 41);
const CHANNEL_OPEN: Method = (20, 10);
const CHANNEL_OPEN_OK: Method = (20, 11);
const QUEUE_DECLARE: Method = (50, 10);
const QUEUE_DECLARE_OK: Method = (50, 11);
const BASIC_PUBLISH: Method = (60, 40);
const BASIC_GET: Method = (60, 70);
const BASIC_GET_OK: Method = (60, 71);
const BASIC_ACK: Method = (60, 80);
const CONFIRM_SELECT: Method = (85, 10);
const CONFIRM_SELECT_OK: Method = (85, 11);

/// The properties of a message, by the bit that says that they are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Property {
    Headers = 13,
    CorrelationId = 10,
    MessageId = 7,
    Type = 5,
    AppId = 3,
}

/// Properties as they are written, each by its bit.
#[derive(Clone, Debug, Default)]
pub struct RawProperties(Vec<(Property, Vec<u8>)>);

impl RawProperties {
    /// A property of any bytes; more than 255 do not fit.
    pub fn with(self, property: Property, bytes: &[u8]) -> Self {
        self.written(property, short(bytes))
    }

    /// A header table that has these entries: see [`entry`].
    pub fn with_headers(self, entries: &[Vec<u8>]) -> Self {
        self.written(Property::Headers, long(&entries.concat()))
    }

    fn written(mut self, property: Property, bytes: Vec<u8>) -> Self {
        self.0.push((property, bytes));
        self.0.sort_by_key(|(property, _)| std::cmp::Reverse(*property));
        self
    }

    fn encode(&self) -> Vec<u8> {
        let flags = self
            .0
            .iter()
            .fold(0_u16, |flags, (property, _)| flags | 1 << *property as u16);
        let bytes = self.0.iter().flat_map(|(_, bytes)| bytes.clone());
        flags.to_be_bytes().into_iter().chain(bytes).collect()
    }

    /// How many bytes of header entries are left until the header frame is as large as a frame may be. To be asked of properties without
    /// a header table.
    pub fn room(&self, frame_max: usize) -> usize {
        let without = header(0, &self.clone().with_headers(&[])).len() + AROUND;
        frame_max - without
    }
}

/// An entry of a header table: a name of any bytes, and a value that begins with its type.
pub fn entry(name: &[u8], value: &[u8]) -> Vec<u8> {
    [short(name), value.to_vec()].concat()
}

/// A text as the value of a header.
pub fn text(bytes: &[u8]) -> Vec<u8> {
    [b"S".to_vec(), long(bytes)].concat()
}

/// A number as the value of a header.
pub fn number(number: i64) -> Vec<u8> {
    [b"l".to_vec(), number.to_be_bytes().to_vec()].concat()
}

/// An array in an array in an array, and so on, as the value of a header of so many bytes at most.
pub fn nested_arrays(bytes_max: usize) -> Vec<u8> {
    let level = |rest: usize| [b"A".to_vec(), (rest as u32).to_be_bytes().to_vec()].concat();
    (0..bytes_max / 5).rev().flat_map(|deeper| level(deeper * 5)).collect()
}

fn short(bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).expect("at most 255 bytes");
    [&[length], bytes].concat()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("less than 4 GiB");
    [&length.to_be_bytes(), bytes].concat()
}

fn header(body_size: usize, properties: &RawProperties) -> Vec<u8> {
    let size = (body_size as u64).to_be_bytes();
    [&[0, 60, 0, 0][..], &size, &properties.encode()].concat()
}

/// A connection with one channel that confirms what it is sent.
pub struct RawPublisher {
    stream: TcpStream,
    /// The largest frame that the broker takes.
    pub frame_max: usize,
}

impl RawPublisher {
    pub async fn connect(rabbit: &RabbitMq) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", rabbit.port()))
            .await
            .expect("a connection");
        let mut publisher = Self { stream, frame_max: 0 };
        publisher.stream.write_all(b"AMQP\0\0\x09\x01").await.expect("written");
        publisher.wait_for(CONNECTION_START).await;
        // No properties of the client.
        let login = [long(b""), short(b"PLAIN"), long(b"\0guest\0guest"), short(b"en_US")];
        publisher.call(0, CONNECTION_START_OK, &login.concat()).await;
        let tune = publisher.wait_for(CONNECTION_TUNE).await;
        publisher.frame_max = u32::from_be_bytes([tune[2], tune[3], tune[4], tune[5]]) as usize;
        // Without a heartbeat.
        publisher
            .call(0, CONNECTION_TUNE_OK, &[&tune[..6], &[0, 0]].concat())
            .await;
        publisher
            .call(0, CONNECTION_OPEN, &[short(b"/"), short(b""), vec![0]].concat())
            .await;
        publisher.wait_for(CONNECTION_OPEN_OK).await;
        publisher.call(1, CHANNEL_OPEN, &short(b"")).await;
        publisher.wait_for(CHANNEL_OPEN_OK).await;
        publisher.call(1, CONFIRM_SELECT, &[0]).await;
        publisher.wait_for(CONFIRM_SELECT_OK).await;
        publisher
    }

    /// Publishes a message, and waits until the broker has it.
    pub async fn publish(&mut self, exchange: &str, routing_key: &str, properties: &RawProperties, body: &[u8]) {
        let mandatory = 1;
        let target = [
            &[0, 0][..],
            &short(exchange.as_bytes()),
            &short(routing_key.as_bytes()),
            &[mandatory],
        ];
        self.call(1, BASIC_PUBLISH, &target.concat()).await;
        self.frame(HEADER, 1, &header(body.len(), properties)).await;
        for part in body.chunks(self.frame_max - AROUND) {
            self.frame(BODY, 1, part).await;
        }
        self.wait_for(BASIC_ACK).await;
    }

    /// How long the broker takes for a message by itself, from the publisher to whoever gets it.
    pub async fn passes_through(&mut self, properties: &RawProperties, body: &[u8]) -> Duration {
        let exclusive = 1 << 2;
        let queue = [&[0, 0][..], &short(b""), &[exclusive], &long(b"")].concat();
        self.call(1, QUEUE_DECLARE, &queue).await;
        let declared = self.wait_for(QUEUE_DECLARE_OK).await;
        let name = declared[1..=usize::from(declared[0])].to_vec();
        let began = Instant::now();
        let text = std::str::from_utf8(&name).expect("the broker's own names");
        self.publish("", text, properties, body).await;
        let no_ack = 1;
        let get = [&[0, 0][..], &short(&name), &[no_ack]].concat();
        self.call(1, BASIC_GET, &get).await;
        self.wait_for(BASIC_GET_OK).await;
        began.elapsed()
    }

    async fn call(&mut self, channel: u16, method: Method, arguments: &[u8]) {
        let payload = [&method.0.to_be_bytes()[..], &method.1.to_be_bytes(), arguments].concat();
        self.frame(METHOD, channel, &payload).await;
    }

    async fn frame(&mut self, kind: u8, channel: u16, payload: &[u8]) {
        let frame = [&[kind][..], &channel.to_be_bytes(), &long(payload), &[FRAME_END]].concat();
        self.stream.write_all(&frame).await.expect("the broker takes it");
    }

    /// The arguments of the next method, which is to be this one.
    async fn wait_for(&mut self, method: Method) -> Vec<u8> {
        let read = timeout(PATIENCE, self.read());
        let payload = read.await.expect("the broker answers in time").expect("a frame");
        let id = (
            u16::from_be_bytes([payload[0], payload[1]]),
            u16::from_be_bytes([payload[2], payload[3]]),
        );
        assert_eq!(id, method, "{}", String::from_utf8_lossy(&payload));
        payload[4..].to_vec()
    }

    async fn read(&mut self) -> std::io::Result<Vec<u8>> {
        let mut start = [0; 7];
        self.stream.read_exact(&mut start).await?;
        let length = u32::from_be_bytes([start[3], start[4], start[5], start[6]]) as usize;
        let mut rest = vec![0; length + 1];
        self.stream.read_exact(&mut rest).await?;
        rest.truncate(length);
        Ok(rest)
    }
}
