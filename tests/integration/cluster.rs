//! A cluster of three brokers that loses one.

use bankrefresh::broker::rabbit::{self, Settings};
use bankrefresh::broker::topology::Topology;
use std::time::{Duration, Instant};

use crate::support::platform::{PATIENCE, Platform, WorkerProcess, assert_one_good_outcome_each, command, slow};
use crate::support::rabbitmq::{self, RabbitMq};

/// How many commands there are when the node is killed, and how many come after that.
const BEFORE: i64 = 300;
const AFTER: i64 = 100;

/// A delay queue hands what has expired to the steps queue. Where that queue has no leader just then, RabbitMQ tries again after 180 s, and
/// counts those messages neither as ready nor as unacknowledged.
const DEAD_LETTERED_AGAIN: Duration = Duration::from_secs(240);

#[tokio::test]
async fn a_cluster_that_loses_its_leader_under_load_loses_nothing() {
    let nodes: &'static [RabbitMq; 3] = Box::leak(Box::new(RabbitMq::cluster().await));
    let [ours, leader, third] = nodes;
    let prefix = rabbitmq::prefix();
    let topology = Topology::new(&prefix);
    // The node at which queues are declared leads them.
    let declaring = Settings::new(leader.url().parse().expect("a URL"));
    rabbit::declare(&declaring, &topology).await.expect("declared");
    let listed = ["list_queues", "-q", "--no-table-headers", "name", "leader", "members"];
    let queues = ours.ctl(&listed).await;
    assert_eq!(queues.lines().count(), topology.queues().len(), "{queues}");
    for queue in queues.lines() {
        assert_eq!(queue.split_whitespace().nth(1), Some(leader.name()), "{queue}");
        assert!(nodes.iter().all(|node| queue.contains(node.name())), "{queue}");
    }

    let mut platform = Platform::under(prefix, ours, true, slow(Duration::from_secs(2))).await;
    let [a, b, c] = [leader, third, ours].map(|node| format!("127.0.0.1:{}", node.port()));
    let url = format!("amqp://guest:guest@{a},{b},{c}/%2f");
    // One waits at the leader's node, with its refreshes parked; the other one wherever it comes to be.
    let comes_there = async {
        loop {
            let worker = worker(&platform, &url, "0s").await;
            if worker.log.text().contains(&a) {
                return worker;
            }
        }
    };
    let mut at_leader = tokio::time::timeout(PATIENCE, comes_there)
        .await
        .expect("one of some workers comes to the leader's node");
    let _other = worker(&platform, &url, "30s").await;
    platform.send_all((1..=BEFORE).map(command).collect(), false).await;
    platform.until_asked(|asked| asked.tasks >= 100).await;
    leader.crash().await;
    let since = Instant::now();
    platform
        .send_all((BEFORE + 1..=BEFORE + AFTER).map(command).collect(), true)
        .await;
    println!("commands are taken again after {:?}", since.elapsed());
    at_leader.log.until("lost the connection").await;
    at_leader.log.until("generation=2").await;
    println!("the worker is back after {:?}", since.elapsed());
    platform.patience = DEAD_LETTERED_AGAIN;
    let commands = usize::try_from(BEFORE + AFTER).expect("a count");
    platform.outcomes(commands).await;
    println!("all {commands} commands are done after {:?}", since.elapsed());
    for queue in topology.queues() {
        platform.until_depth(&queue.name, |depth| depth == (0, 0)).await;
    }
    assert_one_good_outcome_each(&platform, commands);
    for node in nodes {
        node.crash().await;
    }
}

/// A worker that is connected.
async fn worker(platform: &Platform, url: &str, hold_wait_max: &str) -> WorkerProcess {
    let mut worker = platform.worker(&[("AMQP__URL", url), ("WORKER__HOLD_WAIT_MAX", hold_wait_max)]);
    worker.log.until("connected to RabbitMQ").await;
    worker
}
