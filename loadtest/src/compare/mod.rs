//! `compare`: the same calls through sipring and through what else there is, one after the other, each
//! alone on one core with the load on another; what a message costs each of them.

mod aims;
mod bystander;
mod draw;
mod machine;
mod measure;
mod process;
mod results;
mod rivals;
mod table;

use results::Results;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// What a comparison is asked to do.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// sipring's binary.
    pub(crate) balancer: PathBuf,
    /// Where the results go, without an ending: `.json`, `.md` and `.svg` are added.
    pub(crate) out: PathBuf,
    pub(crate) rounds: u32,
    /// What is measured of each run.
    pub(crate) length: Duration,
    /// These ones; all if there are none.
    pub(crate) only: Vec<String>,
    /// To see that everything works: the figures mean nothing.
    pub(crate) short: bool,
    /// Tables and chart once more, from the results that are there.
    pub(crate) redraw: bool,
    /// The command line, for the results.
    pub(crate) command: String,
}

/// Runs everything, or reads the results of a run, and writes table and chart.
pub(crate) fn compare(options: &Options) -> io::Result<()> {
    let file = |ending: &str| {
        let mut name = options.out.clone().into_os_string();
        name.push(ending);
        PathBuf::from(name)
    };
    let results: Results = if options.redraw {
        serde_json::from_slice(&std::fs::read(file(".json"))?)?
    } else {
        let results = measure::all(options)?;
        std::fs::write(file(".json"), serde_json::to_vec_pretty(&results)?)?;
        results
    };
    let table = table::all(&results);
    println!("{table}");
    std::fs::write(file(".md"), table)?;
    std::fs::write(file(".svg"), draw::chart(&results).svg())
}
