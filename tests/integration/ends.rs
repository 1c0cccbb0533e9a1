//! Workers that are killed or stopped, and a broker that restarts.

use std::time::{Duration, Instant};

use bankrefresh::sandbox::{After, FaultKind};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::support::platform::{
    Platform, assert_one_good_outcome_each, client, command, commands, free_address, quick, slow,
};
use crate::support::rabbitmq::RabbitMq;

#[tokio::test]
async fn a_killed_workers_refreshes_continue_elsewhere_and_no_bank_is_asked_twice() {
    let mut platform = Platform::start(slow(Duration::from_secs(3))).await;
    let mut killed = platform.worker(&[]);
    platform.send_all(commands(100), false).await;
    platform.until_asked(|asked| asked.tasks >= 60).await;
    killed.child.kill().await.expect("killed");
    let _other = platform.worker(&[]);
    platform.outcomes(100).await;
    assert_one_good_outcome_each(&platform, 100);
}

#[tokio::test]
async fn a_worker_that_is_asked_to_stop_parks_all_it_holds_within_ten_seconds() {
    let mut platform = Platform::start(slow(Duration::from_secs(20))).await;
    let mut stopped = platform.worker(&[("WORKER__IN_FLIGHT", "5000")]);
    platform.send_all(commands(5000), false).await;
    platform.until_asked(|asked| asked.tasks >= 5000).await;
    let since = Instant::now();
    stopped.signal("TERM").await;
    assert!(stopped.ended().await.success());
    println!("stopped after {:?}", since.elapsed());
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    platform
        .until_depth(&platform.topology.background(), |depth| depth == (0, 0))
        .await;
    let _other = platform.worker(&[("WORKER__IN_FLIGHT", "5000")]);
    platform.outcomes(5000).await;
    assert_one_good_outcome_each(&platform, 5000);
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_and_loses_nothing() {
    let mut platform = Platform::start(slow(Duration::from_secs(4))).await;
    let listen = free_address();
    let mut stopped = platform.worker(&[("ADMIN__LISTEN", &listen)]);
    platform.send_all(commands(50), false).await;
    platform.until_asked(|asked| asked.tasks >= 50).await;
    // A call that takes long keeps it from stopping by itself.
    platform.sandbox.go_down(FaultKind::Slow { by: After::secs(5) });
    stopped.signal("TERM").await;
    stopped.log.until("stopping").await;
    let ready = client().get(format!("http://{listen}/readyz")).send().await;
    assert_eq!(ready.expect("an answer").status(), 503, "it takes no more");
    stopped.signal("INT").await;
    stopped.ended().await;
    platform.sandbox.come_up();
    let _other = platform.worker(&[]);
    platform.outcomes(50).await;
    assert_one_good_outcome_each(&platform, 50);
}

/// lapin connects on threads of its own, which panic when their runtime ends before them.
#[tokio::test]
async fn a_worker_that_is_asked_to_stop_while_it_connects_ends_without_a_panic() {
    let platform = Platform::start(quick()).await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("bound");
    let listener = socket.listen(1).expect("listening");
    let address = listener.local_addr().expect("an address");
    // Nobody accepts, so once the backlog is full a connection is neither made nor refused.
    let mut waiting = JoinSet::new();
    for _ in 0..4 {
        waiting.spawn(TcpStream::connect(address));
    }
    let silent = format!("amqp://{address}");
    for _ in 0..10 {
        let mut worker = platform.worker(&[("AMQP__URL", &silent)]);
        sleep(Duration::from_millis(500)).await;
        worker.signal("TERM").await;
        assert!(worker.ended().await.success());
        // Its last lines may still be on their way.
        worker.log.until("the worker has stopped").await;
        let text = worker.log.text();
        assert!(!text.contains("ERROR"), "{text}");
    }
}

#[tokio::test]
async fn a_broker_that_restarts_loses_nothing() {
    let rabbit: &'static RabbitMq = Box::leak(Box::new(RabbitMq::start().await));
    let mut platform = Platform::on(rabbit, slow(Duration::from_secs(2))).await;
    let _workers = [platform.worker(&[]), platform.worker(&[])];
    platform.send_all(commands(100), false).await;
    platform.until_asked(|asked| asked.tasks >= 30).await;
    rabbit.crash().await;
    rabbit.restart().await;
    // Events that were published while our own ephemeral subscription was down are in no queue of ours, so the sandbox is asked instead.
    let background = platform.topology.background();
    platform
        .until_asked(|asked| asked.tasks >= 100 && asked.open_tasks == 0)
        .await;
    platform.until_depth(&background, |depth| depth == (0, 0)).await;
    platform
        .until_depth(&platform.topology.steps(), |depth| depth == (0, 0))
        .await;
    assert_eq!(platform.updates_per_connection_max(), 1, "no bank was asked twice");
    let id = platform.send(command(101)).await;
    platform.outcome(&id).await;
    rabbit.crash().await;
}
