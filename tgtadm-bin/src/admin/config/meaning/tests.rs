//! Tests of the interpretation: lists and single values, options of stores and targets, errors and warnings.

use std::path::Path;

use super::*;
use crate::admin::config::{OneText, read};

fn config(text: &str) -> Result<Config, Vec<String>> {
    let entries = read(Path::new("f"), &OneText(text)).unwrap();
    interpret(entries).map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

fn target(inside: &str) -> Target {
    config(&format!("<target t>\n{inside}\n</target>")).unwrap().targets.pop().unwrap()
}

/// The errors that reject the target, without the file's name.
fn errors(inside: &str) -> String {
    let config = config(&format!("<target t>\n{inside}\n</target>")).unwrap();
    assert_eq!(config.targets.len() + config.refused.len(), 1);
    let all = config.refused.iter().flat_map(|refused| &refused.errors);
    all.map(|error| format!("{}: {}", error.location.line, error.text)).collect::<Vec<_>>().join("|")
}

fn warnings(text: &str) -> String {
    let config = config(text).unwrap();
    config.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("|")
}

#[test]
fn global_directives_are_interpreted() {
    let text = "default-driver iser\nignore-errors yes\ncontrol-port 3\niSNS On\niSNSServerPort 5\n\
                incomingdiscoveryuser a b\noutgoingdiscoveryuser c d";
    let config = config(text).unwrap();
    assert_eq!(config.default_driver.as_deref(), Some("iser"));
    assert!(config.ignore_errors);
    assert_eq!(config.control_port.as_deref(), Some("3"));
    assert_eq!(
        config.isns.into_iter().collect::<Vec<_>>(),
        [("iSNS".to_owned(), "On".to_owned()), ("iSNSServerPort".to_owned(), "5".to_owned())]
    );
    let account = |user: &str, password: &str, line| {
        let location = Location { file: Path::new("f").into(), line };
        Some(Account { user: user.into(), password: password.into(), names: Vec::new(), location })
    };
    assert_eq!(
        (config.incoming_discovery, config.outgoing_discovery),
        (account("a", "b", 6), account("c", "d", 7))
    );
}

#[test]
fn account_with_two_passwords_rejects_every_target_that_uses_it() {
    let text = "incomingdiscoveryuser d one\n\
                <target a>\nincominguser a one\nincominguser b one\n</target>\n\
                <target b>\nincominguser c one\noutgoinguser a two\n</target>\n\
                <target c>\nincominguser c one\noutgoinguser e one\noutgoinguser a three\n</target>\n\
                <target d>\nincominguser d two\n</target>\n\
                <target e>\nincominguser e one\nincominguser f one\noutgoinguser f two\n</target>";
    let config = config(text).unwrap();
    let stay: Vec<_> = config.targets.iter().map(|target| target.name.as_str()).collect();
    assert_eq!(stay, ["c"], "accounts that are not used are not compared");
    let errors: Vec<String> = config
        .refused
        .iter()
        .flat_map(|refused| refused.errors.iter().map(|error| format!("{} {error}", refused.name)))
        .collect();
    let expected =
        [("a", 3, "a", 8), ("b", 8, "a", 3), ("d", 16, "d", 1), ("e", 20, "f", 21), ("e", 21, "f", 20)];
    let expected = expected.map(|(target, line, user, other)| {
        format!(
            "{target} f:{line}: account {user} has another password at f:{other}; an account has one password, wherever \
             it is used"
        )
    });
    assert_eq!(errors, expected);
}

#[test]
fn errors_outside_of_targets_reject_the_file() {
    #[rustfmt::skip]
    let cases = [
        ("default-driver a\ndefault-driver b",   "f:2: Multiple default-driver definitions are not allowed!"),
        ("control-port",                         "f:1: Option control-port has a missing value!"),
        ("incomingdiscoveryuser a",              "f:1: Option incomingdiscoveryuser has a missing value! Write 'incomingdiscoveryuser NAME PASSWORD'."),
        ("incomingdiscoveryuser a \"\"",         "f:1: 'incomingdiscoveryuser a' has an empty password"),
        ("incomingdiscoveryuser a b\noutgoingdiscoveryuser a c",
            "f:1: account a has another password at f:2; an account has one password, wherever it is used"),
        ("\ntarget x",                           "f:2: a target is a block: <target NAME>"),
        ("<target>\n</target>",                  "f:1: a target is a block: <target NAME>"),
        ("<iSNS x>\n</iSNS>",                    "f:1: 'iSNS' is not a block; write 'iSNS VALUE'"),
    ];
    for (text, expected) in cases {
        assert_eq!(config(text).unwrap_err(), [expected], "{text}");
    }
}

#[test]
fn blocks_of_one_target_are_merged() {
    let text = "<target b>\n</target>\n<target a>\ninitiator-address x\nMaxConnections 2\n</target>\n\
                <target a>\ninitiator-address y\nMaxConnections 3\nDataDigest None\n</target>";
    let config = config(text).unwrap();
    let names: Vec<&str> = config.targets.iter().map(|target| target.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let a = &config.targets[0];
    assert_eq!(a.addresses, ["x", "y"]);
    let parameters: Vec<_> =
        a.parameters.iter().map(|one| (one.name.as_str(), one.value.as_str(), one.repeated)).collect();
    assert_eq!(parameters, [("DataDigest", "None", false), ("MaxConnections", "2", true)]);
}

#[test]
fn options_of_store_override_those_of_target() {
    let stores = target(
        "vendor_id T\nscsi_id S\nwrite-cache Off\nmode_page 1\nparams t\nbs-type aio\n\
         direct-store /a\nbacking-store /z\n<backing-store \"/b c\">\nvendor_id B\nwrite-cache on\nmode_page 2\n\
         params b\nlun 0x10\nblock-size 4096\n</backing-store>",
    )
    .stores;
    let paths: Vec<_> = stores.iter().map(|store| (store.kind, store.path.as_str(), store.lun)).collect();
    let expected = [
        (StoreKind::Backing, "/b c", Some(16)),
        (StoreKind::Backing, "/z", None),
        (StoreKind::Direct, "/a", None),
    ];
    assert_eq!(paths, expected);
    let own = &stores[0];
    assert_eq!(own.parameters["vendor_id"], "B");
    assert_eq!(own.parameters["scsi_id"], "S");
    assert_eq!((&own.write_cache, &stores[1].write_cache), (&WriteCache::On, &WriteCache::Off));
    assert_eq!((own.mode_pages.join(" "), own.params.join(" ")), ("2 1".to_owned(), "b t".to_owned()));
    assert_eq!((own.block_size.as_deref(), own.bs_type.as_deref()), (Some("4096"), Some("aio")));
    assert_eq!(stores[1].parameters["vendor_id"], "T");
}

#[test]
fn errors_within_a_target_reject_that_target() {
    #[rustfmt::skip]
    let cases = [
        ("incominguser a",                                        "2: Option incominguser has a missing value! Write 'incominguser NAME PASSWORD'."),
        ("incominguser a secretpass12 iqn.2026-01.a:b secret",    "2: 'incominguser a' takes iSCSI names of initiators after the password; 'secret': name is neither iqn., eui. nor naa. as RFC 7143 defines them"),
        ("incominguser a \"\"\noutgoinguser b ''",              "2: 'incominguser a' has an empty password|3: 'outgoinguser b' has an empty password"),
        ("initiator-address\ninitiator-name \"\"",                "2: Option initiator-address has a missing value!|3: Option initiator-name has a missing value!"),
        ("vendor_id a\nvendor_id b",                              "3: Multiple 'vendor_id' definitions not allowed!"),
        ("driver a\ndriver b",                                    "3: Multiple 'driver' definitions not allowed!"),
        ("controller_tid 0",                                      "2: 'controller_tid 0': the target number is 1 to 2147483647"),
        ("lun 3\nbacking-store /a\nbacking-store /b",             "4: another store of this target has 'lun 3'"),
        ("backing-store /a\nlun 0",                               "3: 'lun 0': the LUN must be 1 or more (0 is the controller)"),
        ("<backing-store>\n</backing-store>",                     "2: Option backing-store has a missing value!"),
        ("<initiator-address x>\n</initiator-address>",           "2: 'initiator-address' is not a block; write 'initiator-address VALUE'"),
        ("lun 3\nbacking-store /a",                               ""),
    ];
    for (inside, expected) in cases {
        assert_eq!(errors(inside), expected, "{inside}");
    }
    let config = config("<target a>\ndriver\n</target>\n<target b>\n</target>").unwrap();
    assert_eq!((config.refused[0].name.as_str(), config.targets[0].name.as_str()), ("a", "b"));
}

#[test]
fn misleading_lines_are_warned_of() {
    #[rustfmt::skip]
    let cases = [
        ("Target x",                                              "f:1: 'Target' is not a directive here and is ignored ('target' is valid outside of blocks)"),
        ("bogus",                                                 "f:1: 'bogus' is not a directive here and is ignored"),
        ("<target t>\ninitiator_address x\n</target>",            "f:2: 'initiator_address' is not a directive here and is ignored ('initiator-address' is valid in a <target> block)"),
        ("<target t>\nblock-size 512\n</target>",                 "f:2: 'block-size' is valid only in a store's own block (<backing-store PATH>) and is ignored here"),
        ("<target t>\nbacking-store /a\nwrite-cache x\n</target>", "f:3: 'write-cache x': the value is 'on' or 'off'; the cache stays on"),
        ("<target t>\n<backing-store /a>\nblock-size 256\n</backing-store>\n</target>",
            "f:3: 'block-size 256': the value is a power of two from 512; for another the daemon uses 512"),
        ("<target t>\n<backing-store /a>\nblock-size 0x1000\n</backing-store>\n</target>", ""),
        ("ignore-errors maybe",                                   "f:1: ignore-errors is 'yes' or 'no'; 'maybe' counts as 'no'"),
        ("incomingdiscoveryuser a b c",                           "f:1: 'incomingdiscoveryuser' takes a name and a password; the words after them are ignored"),
        ("incomingdiscoveryuser a PLEASE_CORRECT_THE_PASSWORD",
            "f:1: 'incomingdiscoveryuser a' has the placeholder of --dump as its password, which is public"),
        ("<target t>\ninitiator-name x\nacl-match all\n</target>",   ""),
        ("<target t>\ninitiator-name x\n</target>",
            "f:1: target t has rules on names only and admits every address; add 'initiator-address none' to prevent this"),
        ("<target t>\ninitiator-name x\ninitiator-address none\n</target>", ""),
    ];
    for (text, expected) in cases {
        assert_eq!(warnings(text), expected, "{text}");
    }
}

#[test]
fn value_that_a_comment_cuts_off_is_warned_of() {
    for (text, line) in [
        ("incomingdiscoveryuser a sec#ret12345678", 1),
        ("<target t>\nincominguser alice sec#ret12345678\n</target>", 2),
        ("<target t>\noutgoinguser alice \\\nsec#ret12345678\n</target>", 2),
        ("<target t>\ninitiator-address 10.0.0.1#ret\n</target>", 2),
        ("<target t>\ninitiator-address none\ninitiator-name iqn.x#ret\n</target>", 3),
        ("<target t>\n\nbacking-store /sec#ret\n</target>", 3),
        ("<target t>\ndirect-store \"/sec#ret\"\n</target>", 2),
        ("<target t>\n<backing-store /a>\npath /sec#ret\n</backing-store>\n</target>", 3),
    ] {
        let said = warnings(text);
        assert!(
            said.starts_with(&format!("f:{line}: '")) && said.contains("the '#' begins a comment"),
            "{said}"
        );
        assert!(!said.contains("sec") && !said.contains("ret"), "{said}");
    }
    for text in [
        "incomingdiscoveryuser a secret # it",
        "incomingdiscoveryuser a secret\t#it",
        "incomingdiscoveryuser a sec\\#ret",
        "<target t>\nwrite-cache off#it\n</target>",
        "#a#b",
        "<target t>#it\n</target>",
        "incomingdiscoveryuser <<E\na b#c\nE",
    ] {
        assert_eq!(warnings(text), "", "{text}");
    }
}

#[test]
fn address_none_admits_no_address() {
    assert_eq!(target("").admitted(), ["ALL"]);
    assert_eq!(target("initiator-name x").admitted(), ["ALL"]);
    assert!(target("initiator-name x\ninitiator-address none").admitted().is_empty());
    assert_eq!(target("initiator-address none\ninitiator-address 192.0.2.1").admitted(), ["192.0.2.1"]);
}

#[test]
fn values_with_commas_are_rejected() {
    for inside in [
        "backing-store /a,b.img",
        "<backing-store /a,b.img>\n</backing-store>",
        "direct-store /dev/a,b",
        "initiator-address 10.0.0.1,10.0.0.2",
        "initiator-name iqn.a,iqn.b",
        "incominguser a,b secretpass12",
        "outgoinguser a,b secretpass12",
        "bsopts a=b,c=d",
        "product_id A,B",
        "mode_page 8:0:1,2",
    ] {
        let said = errors(inside);
        assert!(said.starts_with("2: ") && said.contains("splits requests at commas"), "{inside}: {said}");
    }
    let refused = config("<target a,b>\n</target>").unwrap().refused;
    assert_eq!((refused[0].name.as_str(), refused[0].errors[0].location.line), ("a,b", 1));
    let whole =
        target("HeaderDigest None,CRC32C\nparams a=b,c=d\nbacking-store NONE:1,2\nincominguser a b,c");
    assert_eq!((whole.stores.len(), whole.incoming[0].password.as_str()), (1, "b,c"));
}

#[test]
fn address_that_the_daemon_refuses_is_warned_of() {
    for (address, is_warned) in [
        ("10.0.0.256", true),
        ("10.0.0.0/33", true),
        ("10.0.0.0/8", false),
        ("[fe80::1]", false),
        ("ALL", false),
        ("none", false),
        ("host.example", false),
    ] {
        let said = warnings(&format!("<target t>\ninitiator-address {address}\n</target>"));
        let start = format!("f:2: 'initiator-address {address}': ");
        assert_eq!(said.starts_with(&start), is_warned, "{said}");
        assert_eq!(said.is_empty(), !is_warned, "{said}");
    }
}
