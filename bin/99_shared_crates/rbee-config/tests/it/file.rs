use std::{fs, time::Duration};

use rbee_config::{
    ChatTemplate, HiveEntry, NarrationMode, OnBuildFailure, QueenUrl, RequestDefaults, Speculative,
};

use crate::{Home, listed};

#[test]
fn every_key_of_the_file_is_read() {
    let config = Home::with(
        r#"
        narration = "json"
        log = "debug,hyper=off"
        [auto_update]
        enabled = false
        check_interval = "5m"
        on_build_failure = "last-good"
        profile = "release"
        [queen]
        port = 9000
        url = "http://localhost:9002/"
        drain_timeout = "10s"
        [[hive]]
        alias = "my-hive"
        host = "127.0.0.1"
        port = 9001
        [[hive]]
        alias = "b"
        [worker]
        threads = 3
        parallel = 0x10
        context = "auto"
        idle_timeout = "1h 30m"
        lease = "7s"
        [models]
        default = "hf:a/b"
        hf_endpoint = "http://127.0.0.1:1/"
        "#,
    );
    let config = config.load().unwrap();
    assert_eq!(config.narration, NarrationMode::Json);
    assert!(!config.auto_update.enabled);
    assert_eq!(config.auto_update.check_interval, Duration::from_secs(300));
    assert_eq!(config.auto_update.on_build_failure, OnBuildFailure::LastGood);
    assert_eq!(config.auto_update.profile, "release");
    assert_eq!(config.queen_url(), "http://127.0.0.1:9000");
    assert_eq!(config.queen.url.as_ref().map(|url| url.as_str()), Some("http://localhost:9002"));
    assert_eq!(config.log.as_deref(), Some("debug,hyper=off"));
    assert_eq!(config.queen.drain_timeout, Duration::from_secs(10));
    assert_eq!(
        config.hives,
        [
            HiveEntry { alias: "my-hive".into(), host: "127.0.0.1".into(), port: 9001 },
            HiveEntry { alias: "b".into(), host: "localhost".into(), port: 8600 },
        ]
    );
    assert_eq!((config.worker.threads, config.worker.parallel), (Some(3), 16));
    assert_eq!(config.worker.context, None);
    assert_eq!(config.worker.idle_timeout, Duration::from_secs(5400));
    assert_eq!(config.worker.lease, Duration::from_secs(7));
    assert_eq!(config.models.default, "hf:a/b");
    assert_eq!(config.models.hf_endpoint, "http://127.0.0.1:1");
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_nearest_known_one() {
    for (toml, refusal) in [
        (
            "[queen]\nprot = 1",
            "config.toml:2: unknown key `queen.prot`; did you mean `queen.port`?",
        ),
        (
            "# a\n\n[auto_update]\ncheck-interval = \"1s\"",
            "config.toml:4: unknown key `auto_update.check-interval`; \
             did you mean `auto_update.check_interval`?",
        ),
        (
            "profile = \"dev\"",
            "config.toml:1: unknown key `profile`; did you mean `auto_update.profile`?",
        ),
        ("[[hives]]\nalias = \"a\"", "config.toml:1: unknown key `hives`; did you mean `hive`?"),
        (
            "[[hive]]\nalias = \"a\"\nhsot = \"localhost\"",
            "config.toml:3: unknown key `hive.hsot`; did you mean `hive.host`?",
        ),
        // Of a table that nobody knows, its own line.
        ("[quene]\n\nport = 1", "config.toml:1: unknown key `quene`; did you mean `queen`?"),
        (
            "# a\n[worker]\nparallel = 1\n[worker.vlm]\ncommand = \"/opt/vllm\"",
            "config.toml:4: unknown key `worker.vlm`; did you mean `worker.vllm`?",
        ),
        ("[zzz]\nport = 1", "config.toml:1: unknown key `zzz`"),
        (
            "[worker.external]\ncommand = \"x\"",
            "config.toml:2: unknown key `worker.external.command`; did you mean \
             `worker.vllm.command`?",
        ),
        (
            "[[hive]]\nalias = \"a\"\n[hive.box]\nname = \"x\"",
            "config.toml:3: unknown key `hive.box`",
        ),
        ("zzz = 1", "config.toml:1: unknown key `zzz`"),
        ("b_is_second = 1\na_is_third = 1", "config.toml:1: unknown key `b_is_second`"),
    ] {
        assert_eq!(Home::with(toml).refusal(), refusal);
    }
}

#[test]
fn a_value_of_the_wrong_type_is_refused_with_what_was_expected() {
    for (toml, refusal) in [
        (
            "[queen]\nport = \"8500\"",
            "`queen.port` must be a port from 0 to 65535, not the text \"8500\" (config.toml:2)",
        ),
        (
            "[queen]\nport = 65536",
            "`queen.port` must be a port from 0 to 65535, not the number 65536 (config.toml:2)",
        ),
        (
            "[queen]\nport = -1",
            "`queen.port` must be a port from 0 to 65535, not the number -1 (config.toml:2)",
        ),
        (
            "worker.parallel = 0",
            "`worker.parallel` must be a whole number from 1, not the number 0 (config.toml:1)",
        ),
        (
            "[auto_update]\ncheck_interval = 5",
            "`auto_update.check_interval` must be a duration such as \"30s\", \"5m\" or \
             \"1h 30m\", not the number 5 (config.toml:2)",
        ),
        (
            "[auto_update]\nenabled = \"yes\"",
            "`auto_update.enabled` must be `true` or `false`, not the text \"yes\" (config.toml:2)",
        ),
        (
            "[auto_update]\non_build_failure = \"ignore\"",
            "`auto_update.on_build_failure` must be one of `refuse`, `last-good`, \
             not the text \"ignore\" (config.toml:2)",
        ),
        (
            "[auto_update]\nprofile = \"--config=x\"",
            "`auto_update.profile` must be the name of a cargo profile, such as \"dev\" or \
             \"release\", not the text \"--config=x\" (config.toml:2)",
        ),
        (
            "queen.url = \"http://queen.example:8500\"",
            "`queen.url` must be the address of a queen on this machine, such as \
             `http://127.0.0.1:8500`, or `none`, not the text \"http://queen.example:8500\" \
             (config.toml:1)",
        ),
        ("queen = 1", "`queen` must be a table, `[queen]`, not the number 1 (config.toml:1)"),
        (
            "# mine\n[hive]\n\nport = 8600\nalias = \"a\"",
            "`hive` must be written as one `[[hive]]` for each hive, not one `[hive]` \
             (config.toml:2)",
        ),
        (
            "[queen]\nport = 1\n[hive]",
            "`hive` must be written as one `[[hive]]` for each hive, not one `[hive]` \
             (config.toml:3)",
        ),
        (
            "hive = [1]",
            "`hive` must be written as one `[[hive]]` for each hive, \
             not a list with the number 1 (config.toml:1)",
        ),
    ] {
        assert_eq!(Home::with(toml).refusal(), refusal);
    }
}

#[test]
fn a_file_that_is_not_toml_is_refused_with_its_place() {
    let refusal = Home::with("[queen]\nport = \n").refusal();
    assert!(refusal.starts_with("config.toml:2:"), "{refusal}");
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_and_not_the_defaults() {
    let home = Home::with("");
    fs::remove_file(home.path().join("config.toml")).unwrap();
    fs::create_dir(home.path().join("config.toml")).unwrap();
    assert!(home.refusal().starts_with("cannot read the configuration"));
}

#[test]
fn hives_that_cannot_be_are_refused() {
    for (toml, refusal) in [
        (
            "[[hive]]\nalias = \"a\"\nhost = \"me@box\"\nport = 22",
            "hive `a` is on `me@box` and has no port: it is reached over SSH, whose port is set in \
             `~/.ssh/config` (config.toml:4)",
        ),
        (
            "[[hive]]\nalias = \"a\"\nhost = \"-oProxyCommand=x\"",
            "`hive.host` must be `localhost`, or what `ssh` calls another machine, such as \
             `user@gpu-box`, not the text \"-oProxyCommand=x\" (config.toml:3)",
        ),
        (
            "[[hive]]\nalias = \"../a\"",
            "`hive.alias` must be a name of at most 64 characters from a-z, 0-9, `.`, `_` and \
             `-`, not the text \"../a\" (config.toml:2)",
        ),
        (
            "[[hive]]\nport = 1",
            "`hive.alias` must be given for each hive, not left out (config.toml:1)",
        ),
        (
            "[[hive]]\nalias = \"a\"\n[[hive]]\nalias = \"a\"\nport = 1",
            "two hives are called `a` (config.toml:4)",
        ),
        (
            "[[hive]]\nalias = \"a\"\nport = 8500",
            "`queen.port` and `hive.a.port` are both 8500 (config.toml:3)",
        ),
        (
            "[[hive]]\nalias = \"a\"\nport = 7\n[[hive]]\nalias = \"b\"\nport = 7",
            "`hive.a.port` and `hive.b.port` are both 7 (config.toml:6)",
        ),
    ] {
        assert_eq!(Home::with(toml).refusal(), refusal);
    }
}

#[test]
fn any_number_of_hives_may_leave_their_port_to_the_system() {
    let toml = "queen.port = 0\n[[hive]]\nalias = \"a\"\nport = 0\n[[hive]]\nalias = \"b\"\nport = 0\nhost = \"::1\"";
    assert_eq!(Home::with(toml).load().unwrap().hives.len(), 2);
}

#[test]
fn a_hive_is_on_this_machine_or_where_ssh_leads() {
    let toml = "[[hive]]\nalias = \"a\"\n[[hive]]\nalias = \"b\"\nhost = \"me@gpu-box.lan\"\n\
                [[hive]]\nalias = \"c\"\nhost = \"fe80::1%eth0\"";
    let hives = Home::with(toml).load().unwrap().hives;
    let destinations: Vec<_> = hives.iter().map(HiveEntry::ssh_destination).collect();
    assert_eq!(destinations, [None, Some("me@gpu-box.lan"), Some("fe80::1%eth0")]);
}

#[test]
fn what_is_no_host_is_refused() {
    for host in
        ["", "0.0.0.0", "::", "a b", "a;b", "@box", "me@", "-v@box", "me@-v", "a@b@c", "$(x)"]
    {
        let refusal = Home::with(&format!("[[hive]]\nalias = \"a\"\nhost = \"{host}\"")).refusal();
        assert!(refusal.starts_with("`hive.host` must be"), "{host}: {refusal}");
    }
}

#[test]
fn an_unknown_alias_names_the_known_ones_and_the_nearest() {
    let home = Home::with("[[hive]]\nalias = \"my-hive\"\n[[hive]]\nalias = \"attic\"\nport = 1");
    let config = home.load().unwrap();
    assert_eq!(config.hive(None).unwrap().alias, "my-hive");
    assert_eq!(config.hive(Some("attic")).unwrap().port, 1);
    assert_eq!(
        config.hive(Some("my-hvie")).unwrap_err().to_string(),
        "no hive is called `my-hvie`; did you mean `my-hive`?; configured: `my-hive`, `attic`"
    );
}

#[test]
fn a_queen_elsewhere_is_on_this_machine_and_speaks_http() {
    for url in ["http://127.0.0.1:8500", "http://localhost:1", "http://[::1]:8500"] {
        assert!(url.parse::<QueenUrl>().is_ok(), "{url}");
    }
    for url in [
        "https://127.0.0.1:8500",
        "http://10.0.0.1:8500",
        "http://localhost.example:1",
        "http://127.0.0.1:1@example.org",
        "http://127.0.0.1:8500/path",
        "http://127.0.0.1",
        "",
    ] {
        assert!(url.parse::<QueenUrl>().is_err(), "{url}");
    }
}

#[test]
fn what_computes_a_model_is_read_from_tables_with_names_of_the_user_s_own() {
    let config = Home::with(
        r#"
        [worker.vllm]
        command = "/opt/venv"
        args = ["--enforce-eager", "--dtype=float32"]
        kv_cache = 4
        load_timeout = "1h"
        [worker.external."llama.cpp's own"]
        command = ["llama-server", "-m", "{model}", "--port", "{port}"]
        ready = "/ready"
        model = "its name"
        env = ["A=b c"]
        silence_timeout = "10s"
        [model."org/name.v1:7b"]
        source = "hf:org/name"
        worker = "vllm"
        args = ["--max-logprobs", "5"]
        context = 2048
        [model.other]
        worker = "llama.cpp's own"
        parallel = 2
        "#,
    );
    let config = config.load().unwrap();
    assert_eq!(config.worker.vllm.command.as_deref(), Some("/opt/venv"));
    assert_eq!(config.worker.vllm.args, ["--enforce-eager", "--dtype=float32"]);
    assert_eq!(config.worker.vllm.kv_cache, Some(4));
    assert_eq!(config.worker.vllm.limits.load_timeout, Duration::from_secs(3600));
    let external = &config.worker.external["llama.cpp's own"];
    assert_eq!(external.command[4], "{port}");
    assert_eq!((external.ready.as_str(), external.model.as_deref()), ("/ready", Some("its name")));
    assert_eq!(external.env, ["A=b c"]);
    assert_eq!(external.limits.silence_timeout, Duration::from_secs(10));
    assert_eq!(external.limits.load_timeout, Duration::from_secs(1800));
    let model = &config.model["org/name.v1:7b"];
    assert_eq!(
        (model.source.as_deref(), model.worker.as_deref()),
        (Some("hf:org/name"), Some("vllm"))
    );
    assert_eq!((model.context, model.parallel), (Some(2048), None));
    assert_eq!(config.model["other"].parallel, Some(2));
    let shown =
        config.values().find(|value| value.key == "worker.external.\"llama.cpp's own\".env");
    assert_eq!(shown.map(|value| value.value.as_str()), Some("A"), "a value may be a secret");
}

#[test]
fn a_model_s_table_says_what_its_answers_are_like() {
    let home = Home::with(
        "[model.m]\ntemperature = 1\ntop_p = 0.9\ntop_k = 0\nmin_p = 0.05\nrepeat_penalty = 1.1\n\
         max_tokens = 64\nstop = \"###\"\nseed = 7\nreasoning = \"none\"\nsystem = \"Be\\nbrief.\"\n\
         gpu_layers = 0\nspeculative = \"off\"\nchat_template = \"t/chat.jinja\"\n[model.n]\nstop = [\"a\", \"b c\"]\n\
         chat_template = \"chatml\"\n[model.o]\nchat_template = \"/t\"\n",
    );
    let config = home.load().unwrap();
    let entry = &config.model["m"];
    let set = RequestDefaults {
        temperature: Some(1.0),
        top_p: Some(0.9),
        top_k: Some(0),
        min_p: Some(0.05),
        repeat_penalty: Some(1.1),
        max_tokens: Some(64),
        stop: vec!["###".to_owned()],
        seed: Some(7),
        reasoning: Some("none".to_owned()),
    };
    assert_eq!(entry.request, set);
    assert_eq!(entry.speculative, Some(Speculative::Off));
    assert_eq!((entry.gpu_layers, entry.system.as_deref()), (Some(0), Some("Be\nbrief.")));
    let template = |name: &str| config.model[name].chat_template.clone();
    assert_eq!(template("m"), Some(ChatTemplate::File(home.path().join("t/chat.jinja"))));
    assert_eq!(template("n"), Some(ChatTemplate::Named("chatml".to_owned())));
    assert_eq!(template("o"), Some(ChatTemplate::File("/t".into())));
    assert_eq!(config.model["n"].request.stop, ["a", "b c"]);
    assert_eq!(listed(&config, "model.\"n\".stop").0, "\"a\", \"b c\"");
}

#[test]
fn tables_of_the_user_s_own_names_are_checked_like_all_others() {
    for (toml, wanted) in [
        ("[model.m]\ntemperature = 3", "`model.\"m\".temperature` must be a number from 0 to 2"),
        ("[model.m]\ntop_p = \"0.5\"", "must be a number from 0 to 1, not the text"),
        ("[model.m]\ntemperature = nan", "must be a number from 0 to 2"),
        ("[model.m]\nrepeat_penalty = 0", "must be a number from 0.01 to 100"),
        ("[model.m]\nmax_tokens = 0", "must be a whole number from 1"),
        ("[model.m]\ntop_k = -1", "must be a whole number from 0"),
        ("[model.m]\nstop = [\"\"]", "must be a text or a list of at most 16 texts"),
        ("[model.m]\nreasoning = \"very\"", "must be one of `none`, `minimal`, `low`"),
        ("[model.m]\nspeculative = true", "must be `ngram` or `off`"),
        ("[model.m]\nsorce = \"x\"", "did you mean `model.\"m\".source`"),
        ("[model.m]\nworker = \"vlm\"", "`vllm`, or the NAME of"),
        ("[model]\nm = 1", "model.m"),
        ("[worker.external.e]\ncommand = [\"server\"]", "one of `{port}` and `{socket}`"),
        (
            "[worker.external.e]\ncommand = [\"{port}\", \"{socket}\"]",
            "one of `{port}` and `{socket}`",
        ),
        ("[worker.external.e]\nready = \"/\"", "left out"),
        ("[worker.external.vllm]\ncommand = [\"{port}\"]", "a name of its own"),
        ("[worker.external.e]\ncommand = \"server {port}\"", "a list of texts"),
        ("[worker.external.e]\ncommand = [\"{port}\"]\nenv = [\"=x\"]", "a list of variables"),
        ("[worker.vllm]\nargs = [1]", "a list of texts"),
        ("[worker.vllm.nodes.c]\naddress = \"10.0.0.1\"", "the alias of a hive (`localhost`)"),
        ("[worker.vllm.nodes.localhost]\ninterface = \"eth1\"", "not left out"),
        ("[worker.vllm.nodes.localhost]\naddress = \"0.0.0.0\"", "such as `10.0.0.2`"),
        (
            "[worker.vllm.nodes.localhost]\naddress = \"10.0.0.1\"\ninterface = \"^docker\"",
            "the name of a network interface",
        ),
        ("[model.m]\nhives = [\"b\"]", "each once (`localhost`), not one with `b`"),
        ("[model.m]\nhives = [\"localhost\", \"localhost\"]", "each once"),
    ] {
        let refusal = Home::with(toml).refusal();
        assert!(refusal.contains(wanted), "{toml}: {refusal}");
    }
}

/// Two hives, and the first of them in a network.
const HIVES: &str = "
    [[hive]]
    alias = \"a\"
    [[hive]]
    alias = \"b\"
    port = 8601
    [worker.vllm.nodes.a]
    address = \"10.0.0.1\"
    interface = \"eth1\"
";

#[test]
fn hives_that_compute_a_model_together_are_read_with_where_they_meet() {
    let toml = "
        [worker.vllm]
        tensor_parallel = 4
        [worker.vllm.nodes.b]
        address = \"fd00::2\"
        [model.big]
        hives = [\"b\", \"a\"]
        [model.own]
        hives = [\"b\"]
    ";
    let config = Home::with(&format!("{HIVES}{toml}")).load().unwrap();
    let nodes = &config.worker.vllm.nodes;
    assert_eq!(nodes["a"].address.to_string(), "10.0.0.1");
    assert_eq!(nodes["a"].interface.as_deref(), Some("eth1"));
    assert_eq!(
        (nodes["b"].address.to_string().as_str(), &nodes["b"].interface),
        ("fd00::2", &None)
    );
    assert_eq!(config.model["big"].hives, ["b", "a"]);
    assert!(config.model["big"].is_shared());
    assert!(!config.model["own"].is_shared(), "it only stays there");
    assert_eq!(listed(&config, "worker.vllm.nodes.\"a\".interface").0, "eth1");
    // What is said in vLLM's own words is vLLM's to judge.
    let toml = "
        [worker.vllm.nodes.b]
        address = \"10.0.0.2\"
        [model.big]
        hives = [\"a\", \"b\"]
        args = [\"--tensor-parallel-size=2\"]
    ";
    Home::with(&format!("{HIVES}{toml}")).load().unwrap();
}

#[test]
fn hives_that_could_not_compute_a_model_together_are_refused() {
    let both = "[worker.vllm.nodes.b]\naddress = \"10.0.0.2\"\n";
    let model = "[model.big]\nhives = [\"a\", \"b\"]\n";
    for (toml, wanted) in [
        (
            model.to_owned(),
            "`worker.vllm.nodes.\"b\".address` must be the address at which the hives of `big` meet, \
             not left out",
        ),
        (
            format!("{both}{model}"),
            "times `pipeline_parallel` can be divided, which is 1; `args = [\"--tensor-parallel-size\", \
             \"2\"]`",
        ),
        (
            format!("{both}{model}worker = \"llamacpp\""),
            "which alone computes one model on several",
        ),
        (format!("worker.vllm.tensor_parallel = 3\n{both}{model}"), "which is 3;"),
    ] {
        let refusal = Home::with(&format!("{toml}\n{HIVES}")).refusal();
        assert!(refusal.contains(wanted), "{toml}: {refusal}");
    }
}

#[test]
fn nothing_goes_to_other_machines_in_the_clear_by_mistake() {
    for text in [
        "bind = \"0.0.0.0\"",
        "bind = \"::\"",
        "bind = \"192.168.1.5\"",
        "bind = \"0.0.0.0\"\ntls = { proxy = false }",
    ] {
        let error = Home::with(&format!("[queen]\n{text}")).refusal();
        assert!(error.contains("would go there in the clear"), "{error}");
        assert!(error.contains("config.toml:2"), "{error}");
    }
    for text in [
        "bind = \"::1\"",
        "bind = \"0.0.0.0\"\ntls = { proxy = true }",
        "bind = \"0.0.0.0\"\ntls = { cert = \"/c.pem\", key = \"/k.pem\" }",
        "[queen.tls]\nproxy = true",
    ] {
        Home::with(&format!("[queen]\n{text}")).load().unwrap();
    }
    for text in
        ["tls = { cert = \"/c.pem\" }", "tls = { cert = \"/c\", key = \"/k\", proxy = true }"]
    {
        let error = Home::with(&format!("[queen]\n{text}")).refusal();
        assert!(error.contains("`queen.tls` needs both `cert` and `key`"), "{error}");
    }
    for text in
        ["bind = \"localhost\"", "tls = { cert = \"c.pem\", key = \"/k.pem\" }", "tls = \"yes\""]
    {
        assert!(Home::with(&format!("[queen]\n{text}")).load().is_err(), "{text}");
    }
}

#[test]
fn a_hive_to_be_added_gets_the_next_port_and_a_name_of_its_own() {
    let config = Home::with("[[hive]]\nalias = \"a\"\nport = 8700\n").load().unwrap();
    let added = |alias, port| {
        HiveEntry::beside(&config.hives, config.queen.port, alias, port).map(|hive| hive.port)
    };
    assert_eq!(added("b", None).unwrap(), 8701);
    assert_eq!(added("b", Some(9000)).unwrap(), 9000);
    assert_eq!(added("b", Some(0)).unwrap(), 0);
    for (alias, port, said) in [
        ("a", None, "two hives are called `a`"),
        ("b", Some(8700), "`hive.a.port` and `hive.b.port` are both 8700"),
        ("b", Some(8500), "`queen.port` and `hive.b.port` are both 8500"),
        ("../b", None, "`hive.alias` must be a name of at most 64 characters"),
    ] {
        let error = added(alias, port).unwrap_err().to_string();
        assert!(error.starts_with(said), "{error}");
    }
}
