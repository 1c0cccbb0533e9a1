//! The same messages by bare lapin: each one taken is followed by one published to the events' exchange, acknowledged when that is
//! confirmed, fifty at a time.

use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};

use crate::options::{AmqpPlan, Options};
use crate::process::Used;
use crate::run::Run;
use crate::support::rabbitmq::{self, RabbitMq};
use crate::verdict;

/// How many messages are taken ahead.
const PREFETCH: u16 = 2000;

/// How many confirms may be outstanding, and how many messages one acknowledgement is for.
const CONFIRMS_MAX: usize = 500;
const ACK_EVERY: u64 = 50;

const MANDATORY: BasicPublishOptions = BasicPublishOptions {
    mandatory: true,
    immediate: false,
};

/// As many messages, of the same size, through queues of the same kind.
pub async fn measure(options: &Options, rabbit: &RabbitMq, run: &Run) -> Used {
    let plan = AmqpPlan {
        url: rabbit.url(),
        prefix: rabbitmq::prefix(),
        taken: options.refreshes,
        published: run.messages - options.refreshes,
        bytes: run.event_bytes,
    };
    let connection = rabbit.connection().await;
    let channel = connection.create_channel().await.expect("a channel");
    prepare(&channel, &plan).await;
    let arguments = [
        "amqp".to_owned(),
        format!("--url={}", plan.url),
        format!("--prefix={}", plan.prefix),
        format!("--taken={}", plan.taken),
        format!("--published={}", plan.published),
        format!("--bytes={}", plan.bytes),
    ];
    let used = super::measured(&arguments, &run.simulator.roots).await;
    verdict::amqp_floor(&plan, rabbit, [&commands(&plan), &events(&plan)]).await;
    used
}

fn commands(plan: &AmqpPlan) -> String {
    format!("{}.commands", plan.prefix)
}

fn events(plan: &AmqpPlan) -> String {
    format!("{}.events", plan.prefix)
}

async fn prepare(channel: &Channel, plan: &AmqpPlan) {
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let mut quorum = FieldTable::default();
    quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    for queue in [commands(plan), events(plan)] {
        let declared = channel.queue_declare(queue.into(), durable, quorum.clone());
        declared.await.expect("a queue");
    }
    let exchange = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    let none = FieldTable::default;
    let declared = channel.exchange_declare(events(plan).into(), ExchangeKind::Topic, exchange, none());
    declared.await.expect("an exchange");
    let bind = QueueBindOptions::default();
    let bound = channel.queue_bind(events(plan).into(), events(plan).into(), "#".into(), bind, none());
    bound.await.expect("a binding");
    let select = ConfirmSelectOptions::default();
    channel.confirm_select(select).await.expect("confirms");
    let mut confirms = FuturesOrdered::new();
    for _ in 0..plan.taken {
        let properties = BasicProperties::default().with_delivery_mode(2);
        let published = channel.basic_publish("".into(), commands(plan).into(), MANDATORY, &[7; 100], properties);
        confirms.push_back(published.await.expect("it is sent"));
    }
    while let Some(confirm) = confirms.next().await {
        assert!(confirm.expect("a confirm").is_ack());
    }
}

/// Takes, publishes, acknowledges.
pub async fn run(plan: &AmqpPlan) {
    let connection = Connection::connect(&plan.url, ConnectionProperties::default())
        .await
        .expect("a connection");
    let taking = connection.create_channel().await.expect("a channel");
    let publishing = connection.create_channel().await.expect("a channel");
    let select = ConfirmSelectOptions::default();
    publishing.confirm_select(select).await.expect("confirms");
    taking
        .basic_qos(PREFETCH, BasicQosOptions::default())
        .await
        .expect("a prefetch");
    let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
    let consumer = taking
        .basic_consume(commands(plan).into(), "".into(), options, none)
        .await;
    let mut consumer = consumer.expect("a consumer");
    let body = vec![7; plan.bytes];
    let mut confirms = FuturesOrdered::new();
    let mut published = 0;
    for taken in 1..=plan.taken {
        let delivery = consumer.next().await.expect("a message").expect("a message");
        while published < plan.published * taken / plan.taken {
            let properties = BasicProperties::default()
                .with_delivery_mode(2)
                .with_type("bankrefresh.v1.TransactionsUpdated".into())
                .with_message_id("01890a5d-ac96-774b-bcce-b302099a8057".into());
            let sent = publishing.basic_publish(
                events(plan).into(),
                "transactions.updated".into(),
                MANDATORY,
                &body,
                properties,
            );
            let sent = sent.await.expect("it is sent");
            let tag = delivery.delivery_tag;
            confirms.push_back(async move { (tag, sent.await.expect("a confirm")) });
            published += 1;
        }
        while confirms.len() >= CONFIRMS_MAX {
            confirmed(&taking, confirms.next().await).await;
        }
    }
    while let Some(confirm) = confirms.next().await {
        confirmed(&taking, Some(confirm)).await;
    }
    let all = BasicAckOptions { multiple: true };
    taking.basic_ack(0, all).await.expect("an acknowledgement");
    taking.close(200, "done".into()).await.expect("the channel closes");
    super::done();
}

async fn confirmed(taking: &Channel, confirm: Option<(u64, lapin::Confirmation)>) {
    let Some((tag, confirm)) = confirm else { return };
    assert!(confirm.is_ack(), "{confirm:?}");
    if tag % ACK_EVERY == 0 {
        let up_to = BasicAckOptions { multiple: true };
        taking.basic_ack(tag, up_to).await.expect("an acknowledgement");
    }
}
