use super::*;

const FILE: &str = r#"# my servers
current = "build1"   # the usual one

[context.build1]
server = "build1.example.org:7443"
identity = "bob"

# through the tunnel
[context.via-tunnel]
server = "localhost:17443"
server_name = "build2.example.org"
"#;

fn in_a_file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("airlock/config.toml");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, text).unwrap();
    (folder, file)
}

fn context(server: &str) -> Context {
    Context { server: server.into(), ..Default::default() }
}

#[test]
fn an_absent_file_has_no_contexts_and_the_first_one_creates_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("deep/airlock/config.toml");
    assert_eq!(Contexts::load(&file).unwrap(), Contexts::default());
    add(&file, "build1", context("build1")).unwrap();
    let contexts = Contexts::load(&file).unwrap();
    assert_eq!(contexts.current.as_deref(), Some("build1"));
    assert_eq!(contexts.context["build1"].server, "build1");
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let (_folder, file) = in_a_file("[context.a]\nserver = \"x\"\nidentiy = \"bob\"\n");
    let failure = Contexts::load(&file).unwrap_err().to_string();
    let said = ":3: unknown key 'identiy'; what can stand here: server, server_name, identity, certs";
    assert!(failure.ends_with(said), "{failure}");
}

#[test]
fn changing_the_current_context_keeps_every_comment() {
    let (_folder, file) = in_a_file(FILE);
    set_current(&file, "via-tunnel").unwrap();
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("# my servers\ncurrent = \"via-tunnel\"\n"), "{text}");
    assert!(text.contains("# through the tunnel"));
    assert_eq!(Contexts::load(&file).unwrap().current.as_deref(), Some("via-tunnel"));
}

#[test]
fn removing_the_current_context_leaves_none_current_and_the_others_alone() {
    let (_folder, file) = in_a_file(FILE);
    remove(&file, "build1").unwrap();
    let contexts = Contexts::load(&file).unwrap();
    assert_eq!(contexts.current, None);
    assert_eq!(contexts.context.keys().collect::<Vec<_>>(), ["via-tunnel"]);
}

#[test]
fn names_that_do_not_exist_or_exist_already_are_refused_without_a_change() {
    let (_folder, file) = in_a_file(FILE);
    assert!(set_current(&file, "nope").unwrap_err().to_string().contains("build1, via-tunnel"));
    assert!(remove(&file, "nope").is_err());
    assert!(add(&file, "build1", context("x")).is_err());
    assert!(add(&file, "a]b", context("x")).is_err());
    assert_eq!(fs::read_to_string(&file).unwrap(), FILE);
}

#[test]
fn a_file_in_an_unusual_form_is_refused_rather_than_damaged() {
    let text = "context = { a = { server = \"x\" } }\n";
    let (_folder, file) = in_a_file(text);
    assert!(remove(&file, "a").unwrap_err().to_string().contains("edit it by hand"));
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn values_with_quotes_and_backslashes_survive() {
    let (_folder, file) = in_a_file("");
    let certs = Some(r#"/a "b"\c"#.to_owned());
    add(&file, "x", Context { certs: certs.clone(), ..context("x") }).unwrap();
    assert_eq!(Contexts::load(&file).unwrap().context["x"].certs, certs);
}

#[test]
fn a_configuration_that_is_a_link_stays_one() {
    let (folder, file) = in_a_file(FILE);
    let link = folder.path().join("config.toml");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    set_current(&link, "via-tunnel").unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(Contexts::load(&file).unwrap().current.as_deref(), Some("via-tunnel"));
    assert!(
        set_current(Path::new("/dev/null"), "x").is_err() && add(Path::new("/dev/null"), "x", context("x")).is_err()
    );
}

#[test]
fn who_wants_a_context_away_is_not_told_to_make_it() {
    let (_folder, file) = in_a_file(FILE);
    let failure = remove(&file, "nope").unwrap_err().to_string();
    assert!(failure.ends_with("which has build1, via-tunnel; airlock context lists what there is"), "{failure}");
}

#[test]
fn a_file_that_is_not_text_is_told_so() {
    let (_folder, file) = in_a_file("");
    fs::write(&file, b"\xff\xfe").unwrap();
    let failure = Contexts::load(&file).unwrap_err().to_string();
    assert!(failure.ends_with("config.toml is not UTF-8 text; save it as such"), "{failure}");
}
