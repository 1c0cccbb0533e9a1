//! `bankrefresh topology`

use std::process::ExitCode;

use clap::Subcommand;

use super::Ended;
use crate::broker::rabbit;
use crate::broker::topology::Topology;
use crate::config::Config;
use crate::plain::plain;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Declare every exchange, queue and binding; those that exist stay as they are
    Apply,
    /// Print what is missing or differs, and change nothing; exit code 1 if there is anything
    Check,
    /// Print exchanges, queues and users with their permissions as JSON for `rabbitmqctl import_definitions`
    Definitions,
}

pub(super) async fn run(command: &Command, config: &Config) -> Ended {
    super::log_warnings(&config.telemetry);
    let topology = Topology::new(&config.amqp.prefix);
    let settings = config.amqp.named("topology");
    match command {
        Command::Apply => {
            rabbit::declare(&settings, &topology).await?;
            let (exchanges, queues) = (topology.exchanges().len(), topology.queues().len());
            println!("{exchanges} exchanges and {queues} queues are there");
            Ok(ExitCode::SUCCESS)
        }
        Command::Check => {
            let differences = rabbit::check(&settings, &topology).await?;
            for difference in &differences {
                println!("{}", plain(&difference.to_string()));
            }
            if differences.is_empty() {
                println!("the topology is as it should be");
                return Ok(ExitCode::SUCCESS);
            }
            Ok(ExitCode::FAILURE)
        }
        Command::Definitions => {
            println!("{}", rabbit::definitions(&settings, &topology));
            Ok(ExitCode::SUCCESS)
        }
    }
}
