//! The definitions that are shipped, and what the users in them may do.

use std::process::Output;

use bankrefresh::broker::rabbit::{self, Settings};
use bankrefresh::broker::topology::{DEAD_LETTERS_BYTES_MAX, Topology};
use bankrefresh::broker::{Message, Outgoing, Properties};
use bankrefresh::sandbox::{After, Behaviour, Script, UserDoes};
use lapin::options::{BasicGetOptions, BasicPublishOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use tokio::process::Command;

use crate::support::platform::{Log, Platform, assert_one_good_outcome_each, client, command, free_address, quick};
use crate::support::rabbitmq::{self, RabbitMq};

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/rabbitmq/definitions.json");

async fn printed(settings: &[(&str, &str)]) -> String {
    let mut program = Command::new(env!("CARGO_BIN_EXE_bankrefresh"));
    program.args(["topology", "definitions"]).env_clear();
    program.envs(settings.iter().copied());
    let Output { status, stdout, stderr } = program.output().await.expect("it runs");
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("text")
}

#[tokio::test]
async fn the_shipped_file_is_what_the_program_prints() {
    let shipped = std::fs::read_to_string(SHIPPED).expect("the file");
    assert_eq!(
        shipped,
        printed(&[]).await,
        "`bankrefresh topology definitions` prints it"
    );
    let vhost = printed(&[("BANKREFRESH__AMQP__URL", "amqp://broker/bank")]).await;
    assert!(vhost.contains(r#""vhost": "bank""#), "{vhost}");
}

/// A broker that has the definitions, under a prefix of this test's.
pub async fn defined() -> (&'static RabbitMq, String) {
    let rabbit = rabbitmq::shared().await;
    let prefix = rabbitmq::prefix();
    let definitions = printed(&[("BANKREFRESH__AMQP__PREFIX", &prefix)]).await;
    rabbit.ctl_with(&["import_definitions"], &definitions).await;
    (rabbit, prefix)
}

/// Gives a user a password and says the URL for it.
pub async fn login(rabbit: &RabbitMq, prefix: &str, part: &str) -> String {
    let user = format!("{prefix}-{part}");
    rabbit.ctl(&["change_password", &user, "s3cret"]).await;
    format!("amqp://{user}:s3cret@127.0.0.1:{}/%2f", rabbit.port())
}

#[tokio::test]
async fn an_imported_topology_and_its_users_are_all_that_a_refresh_needs() {
    let (rabbit, prefix) = defined().await;
    let topology = Topology::new(&prefix);
    let administrator = Settings::new(rabbit.url().parse().expect("a URL"));
    assert_eq!(rabbit::check(&administrator, &topology).await.expect("checked"), []);
    let mut platform = Platform::under(prefix.clone(), rabbit, false, quick()).await;
    let undeclared = |url: &str| [("AMQP__URL", url.to_owned()), ("AMQP__DECLARE", "false".to_owned())];

    let no_password = format!("amqp://{prefix}-worker:@127.0.0.1:{}/%2f", rabbit.port());
    let refused = rabbit::check(&Settings::new(no_password.parse().expect("a URL")), &topology).await;
    assert!(refused.is_err(), "without a password nobody logs in");

    let listen = free_address();
    let url = login(rabbit, &prefix, "worker").await;
    // Each wait goes through the delay queues, and wake-ups through the exchange for them.
    let mut worker = platform.worker(&[
        ("AMQP__URL", &url),
        ("AMQP__DECLARE", "false"),
        ("WORKER__HOLD_WAIT_MAX", "0s"),
        ("CALLBACKS__LISTEN", &listen),
        ("CALLBACKS__PUBLIC_URL", "https://callbacks.example.org/finapi"),
        ("CALLBACKS__KEY", "a key of sixteen characters or more"),
    ]);
    worker.log.until("connected to RabbitMQ").await;
    let settings = undeclared(&login(rabbit, &prefix, "watch").await);
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut watch = platform
        .program(&["watch", "--count", "1"], &settings)
        .spawn()
        .expect("it starts");
    let mut watched = Log::of(&mut watch);
    watched.until("watching").await;

    let settings = undeclared(&login(rabbit, &prefix, "sender").await);
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let sent = platform.program(&["send", "--user", "user-1", "--connection", "1"], &settings);
    let sent = { sent }.output().await.expect("it runs");
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    platform.outcomes(1).await;
    watched.until("TransactionsUpdated").await;
    assert!(watch.wait().await.expect("its status").success());

    let callback = platform.sandbox.next_callback().await;
    let callback_url = callback
        .url
        .replace("https://callbacks.example.org/finapi", &format!("http://{listen}"));
    assert_eq!(
        client().post(callback_url).send().await.expect("an answer").status(),
        204
    );
    let unreadable = Outgoing {
        exchange: topology.commands(),
        routing_key: "interactive".to_owned(),
        message: Message {
            body: vec![0xff; 40].into(),
            properties: Properties::default(),
        },
    };
    platform.broker.publish(vec![unreadable]).await.expect("published");
    let dead_letters = topology.dead_letters();
    platform.until_depth(&dead_letters, |(ready, _)| ready == 1).await;
    let id = platform.send(command(2)).await;
    platform.outcome(&id).await;
    assert_one_good_outcome_each(&platform, 2);
    let text = worker.log.text();
    assert!(
        !text.contains("ACCESS_REFUSED") && !text.contains("lost the connection"),
        "{text}"
    );
}

/// What a user does on a channel of its own, and whether the broker lets it.
async fn allowed(connection: &Connection, act: impl AsyncFn(&Channel) -> lapin::Result<()>) -> bool {
    let channel = connection.create_channel().await.expect("a channel");
    act(&channel).await.is_ok()
}

#[tokio::test]
async fn each_user_may_do_its_part_and_no_more() {
    let (rabbit, prefix) = defined().await;
    let topology = Topology::new(&prefix);
    let publish = |exchange: String| {
        async move |channel: &Channel| {
            channel.confirm_select(Default::default()).await?;
            let options = BasicPublishOptions::default();
            let properties = BasicProperties::default();
            let written = channel.basic_publish(exchange.as_str().into(), "nobody".into(), options, b"", properties);
            written.await?.await.map(drop)
        }
    };
    let consume = |queue: String| {
        async move |channel: &Channel| {
            // A stream takes no consumer without a prefetch.
            channel.basic_qos(1, Default::default()).await?;
            let consumer = channel.basic_consume(
                queue.as_str().into(),
                "".into(),
                Default::default(),
                FieldTable::default(),
            );
            consumer.await.map(drop)
        }
    };
    let delete = |queue: String| {
        async move |channel: &Channel| {
            let options = QueueDeleteOptions::default();
            channel.queue_delete(queue.as_str().into(), options).await.map(drop)
        }
    };
    let bind = |queue: String, key: &'static str| {
        let events = topology.events();
        async move |channel: &Channel| {
            let (options, none) = (QueueBindOptions::default(), FieldTable::default());
            let (queue, events) = (queue.as_str().into(), events.as_str().into());
            channel.queue_bind(queue, events, key.into(), options, none).await
        }
    };
    let declare = |queue: String| {
        async move |channel: &Channel| {
            let (options, none) = (QueueDeclareOptions::default(), FieldTable::default());
            channel
                .queue_declare(queue.as_str().into(), options, none)
                .await
                .map(drop)
        }
    };
    let of = |part: &str| ["events", "unhandled"].map(|queue| format!("{prefix}-{part}.{queue}"));
    let queues: Vec<String> = topology.queues().into_iter().map(|queue| queue.name).collect();
    for part in [
        "worker",
        "sender",
        "operator",
        "batch",
        "watch",
        "console",
        "frontend",
        "bookkeeping",
    ] {
        let url = login(rabbit, &prefix, part).await;
        let connection = Connection::connect(&url, ConnectionProperties::default())
            .await
            .expect("a connection");
        for exchange in topology.exchanges() {
            let expected = match part {
                "worker" => ![
                    topology.unrouted_steps(),
                    topology.unrouted_events(),
                    topology.control(),
                ]
                .contains(&exchange.name),
                "operator" => exchange.name == topology.control(),
                "sender" | "batch" => exchange.name == topology.commands(),
                _ => false,
            };
            let may = allowed(&connection, publish(exchange.name.clone())).await;
            assert_eq!(may, expected, "{part} publishes to {}", exchange.name);
        }
        // By which anything could be put into any queue.
        assert!(!allowed(&connection, publish(String::new())).await, "{part}");
        for queue in queues.iter().cloned().chain(of("frontend")).chain(of("bookkeeping")) {
            let takes = [
                topology.interactive(),
                topology.background(),
                topology.steps(),
                topology.quarantine(),
                topology.control(),
            ];
            let expected = match part {
                "worker" => takes.contains(&queue),
                "operator" | "console" => queue == topology.control(),
                _ => of(part).contains(&queue),
            };
            let may = allowed(&connection, consume(queue.clone())).await;
            assert_eq!(may, expected, "{part} consumes {queue}");
            assert!(
                !allowed(&connection, delete(queue.clone())).await,
                "{part} deletes {queue}"
            );
            for key in ["#", "user-action.required"] {
                let binds = allowed(&connection, bind(queue.clone(), key)).await;
                assert!(!binds, "{part} binds {queue} with {key}");
            }
        }
        let own = format!("{prefix}-{part}.own");
        assert!(!allowed(&connection, declare(own)).await, "{part} declares a queue");
    }
}

/// Who is not to see the URL of a web form has no event with one in its queue.
#[tokio::test]
async fn each_consumer_has_its_own_queue_with_what_it_is_to_see() {
    let (rabbit, prefix) = defined().await;
    let mut platform = Platform::under(prefix.clone(), rabbit, false, quick()).await;
    let url = login(rabbit, &prefix, "worker").await;
    let _worker = platform.worker(&[("AMQP__URL", &url), ("AMQP__DECLARE", "false")]);
    let asks = Script::of(Behaviour::ImmediateWebForm {
        user: UserDoes::Completes {
            after: After::millis(100),
        },
    });
    let command = command(1);
    platform
        .sandbox
        .script(&command.user_id, command.bank_connection_id, asks);
    let id = platform.send(command).await;
    platform.outcome(&id).await;
    for (part, expected) in [("frontend", 2), ("bookkeeping", 1)] {
        let queue = format!("{prefix}-{part}.events");
        platform.until_depth(&queue, |(ready, _)| ready == expected).await;
    }
}

/// A queue as the definitions have it for dead letters, but for the number of bytes.
#[tokio::test]
async fn of_too_many_dead_letters_the_oldest_go() {
    let shipped = std::fs::read_to_string(SHIPPED).expect("the file");
    let definitions: serde_json::Value = serde_json::from_str(&shipped).expect("JSON");
    let queues = definitions["queues"].as_array().expect("queues");
    let dead_letters = queues.iter().find(|queue| queue["name"] == "bankrefresh.dead-letters");
    let shipped = dead_letters.expect("it is there")["arguments"]
        .as_object()
        .expect("arguments");
    assert_eq!(shipped["x-max-length-bytes"], DEAD_LETTERS_BYTES_MAX);
    let mut arguments = FieldTable::default();
    for (name, value) in shipped {
        let value = match (name.as_str(), value.as_i64()) {
            ("x-max-length-bytes", _) => AMQPValue::LongLongInt(10_000),
            (_, Some(number)) => AMQPValue::LongLongInt(number),
            (_, None) => AMQPValue::LongString(value.as_str().expect("text").into()),
        };
        arguments.insert(name.as_str().into(), value);
    }
    let rabbit = rabbitmq::shared().await;
    let queue = format!("{}.bounded", rabbitmq::prefix());
    let connection = rabbit.connection().await;
    let channel = connection.create_channel().await.expect("a channel");
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let declared = channel.queue_declare(queue.as_str().into(), durable, arguments);
    declared.await.expect("declared");
    channel.confirm_select(Default::default()).await.expect("confirms");
    for number in 0_u8..30 {
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let body = vec![number; 1000];
        let sent = channel.basic_publish("".into(), queue.as_str().into(), options, &body, properties);
        let confirmed = sent.await.expect("sent").await.expect("confirmed");
        assert!(!confirmed.is_nack(), "{number}");
    }
    let mut kept = Vec::new();
    while let Ok(Some(letter)) = channel
        .basic_get(queue.as_str().into(), BasicGetOptions { no_ack: true })
        .await
    {
        kept.push(letter.data[0]);
    }
    // RabbitMQ 4.3 counts a few bytes besides a body's.
    let most = u8::try_from(kept.len()).expect("a count");
    assert!((9..=10).contains(&most), "{kept:?}");
    assert_eq!(kept, (30 - most..30).collect::<Vec<u8>>());
}

#[tokio::test]
async fn a_worker_that_declares_nothing_says_what_is_missing() {
    let rabbit = rabbitmq::shared().await;
    let platform = Platform::on(rabbit, quick()).await;
    let connection = rabbit.connection().await;
    let channel = connection.create_channel().await.expect("a channel");
    let missing = platform.topology.delay_queue("5m");
    let deleted = channel.queue_delete(missing.as_str().into(), QueueDeleteOptions::default());
    deleted.await.expect("deleted");
    let mut worker = platform.worker(&[("AMQP__DECLARE", "false")]);
    worker.log.until(&format!("queue \"{missing}\" is missing")).await;
}
