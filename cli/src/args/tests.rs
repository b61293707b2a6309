use super::*;
use clap::CommandFactory;

fn parse(words: &[&str]) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("airlock").chain(words.iter().copied()))
}

fn job_of(words: &[&str]) -> JobArgs {
    match parse(words).unwrap().command {
        Command::Run(run) => run.job,
        Command::Start(start) => start.job,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_grammar_has_no_contradictions() {
    Cli::command().debug_assert();
}

#[test]
fn options_end_at_the_first_word_without_a_dash() {
    let job = job_of(&["run", "-m", "1G", "make", "-j8", "--memory", "2G", "-i", "--", "x"]);
    assert_eq!(job.memory.as_deref(), Some("1G"));
    assert_eq!(job.command, ["make", "-j8", "--memory", "2G", "-i", "--", "x"]);
    assert_eq!(job.interactive, 0);
}

#[test]
fn a_double_dash_ends_the_options_and_is_not_part_of_the_command() {
    assert_eq!(job_of(&["run", "--", "--odd-name", "a"]).command, ["--odd-name", "a"]);
    assert_eq!(job_of(&["run", "--stdin", "--", "sh", "-c", "x"]).command, ["sh", "-c", "x"]);
}

#[test]
fn an_unknown_option_before_the_command_is_refused_and_not_run() {
    assert!(parse(&["run", "--memroy", "1G", "make"]).is_err());
}

#[test]
fn the_options_that_fingers_know_are_accepted() {
    let job = job_of(&["run", "--cpus", "2", "--pids-limit", "5", "--workdir", "/srv", "-e", "A=1", "true"]);
    assert_eq!((job.cpu.as_deref(), job.pids.as_deref(), job.cwd.as_deref()), (Some("2"), Some("5"), Some("/srv")));
    assert_eq!(job.env, ["A=1"]);
    assert!(matches!(parse(&["run", "-d", "true"]).unwrap().command, Command::Run(run) if run.detach));
}

#[test]
fn i_before_the_command_word_is_the_identity_and_after_run_is_not() {
    let cli = parse(&["-i", "alice", "-c", "build2", "run", "-it", "true"]).unwrap();
    assert_eq!((cli.global.identity.as_deref(), cli.global.context.as_deref()), (Some("alice"), Some("build2")));
    let Command::Run(run) = cli.command else { panic!() };
    assert_eq!((run.job.interactive, run.job.terminal), (1, 1));
    assert_eq!(run.job.command, ["true"]);
}

#[test]
fn format_may_stand_on_either_side_of_the_command_word() {
    assert_eq!(parse(&["--format", "json", "list"]).unwrap().global.format, Some(Format::Json));
    assert_eq!(parse(&["list", "--format", "json"]).unwrap().global.format, Some(Format::Json));
    assert_eq!(parse(&["start", "--format", "json", "--", "true"]).unwrap().global.format, Some(Format::Json));
}

#[test]
fn the_published_aliases_name_the_same_commands() {
    assert!(matches!(parse(&["get-status", "x"]).unwrap().command, Command::Status(_)));
    assert!(matches!(parse(&["query", "x"]).unwrap().command, Command::Status(_)));
    assert!(matches!(parse(&["stream", "x"]).unwrap().command, Command::Logs(_)));
}
