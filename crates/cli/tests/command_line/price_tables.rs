//! Price lists as files: out, back in, and what is wrong with them.

use std::fs;

use serde_json::json;

use crate::support::{Place, Sandbox};

/// A list with prices that held, hold, will hold, and one that ended.
fn sandbox_with_prices() -> Sandbox {
    let sandbox = Sandbox::start();
    for command in [
        "price set default 0.02 --from 2020-01-01",
        "price set +39 0.03 --from 2020-01-01",
        "price set +39 0.04 --from 2021-06-30T12:00:00+02:00",
        "price set +39 0.000001 --from 2999-01-01",
        "price set +1650 5 --route inbox --from 2020-01-01",
        "price unset +1650 --route inbox --from 2022-01-01",
    ] {
        assert_eq!(sandbox.run(command.split(' ')).exit, 0, "{command}");
    }
    sandbox
}

#[test]
fn an_exported_list_holds_what_holds_and_what_will_hold() {
    let sandbox = sandbox_with_prices();
    let exported = sandbox.run(["price", "export"]);
    assert_eq!(
        exported.stdout,
        "route,prefix,price,effective_from\n\
         all,default,0.02,2020-01-01T00:00:00Z\n\
         all,+39,0.04,2021-06-30T10:00:00Z\n\
         all,+39,0.000001,2999-01-01T00:00:00Z\n",
        "{exported:?}"
    );
    let history = sandbox.run(["price", "export", "-", "--history"]).stdout;
    assert_eq!(history.lines().count(), 7, "{history}");
    assert!(
        history.contains("inbox,+1650,removed,2022-01-01T00:00:00Z"),
        "{history}"
    );
}

#[test]
fn importing_what_was_exported_changes_nothing_here_and_makes_the_same_list_elsewhere() {
    let sandbox = sandbox_with_prices();
    for history in [&[][..], &["--history"]] {
        let file = sandbox.place.path().join(format!("prices{}.csv", history.len()));
        let file = file.to_str().unwrap();
        let rows = sandbox.json(&[&["price", "export", file], history].concat())["rows"].clone();
        let none = json!({ "added": 0, "already_there": rows, "dry_run": false });
        assert_eq!(sandbox.json(&["price", "import", file]), none);

        let other = Sandbox::start();
        let all = |dry_run: bool| json!({ "added": rows, "already_there": 0, "dry_run": dry_run });
        assert_eq!(other.json(&["price", "import", file, "--dry-run"]), all(true));
        assert_eq!(other.json(&["price", "import", file]), all(false));
        for list in [&["price", "list"][..], &["price", "list", "--at", "3000-01-01"]] {
            assert_eq!(other.json(list), sandbox.json(list));
        }
    }
}

#[test]
fn a_file_is_not_replaced_unasked() {
    let sandbox = Sandbox::start();
    let file = sandbox.place.path().join("prices.csv");
    fs::write(&file, "precious").unwrap();
    sandbox
        .run(["price", "export", "prices.csv"])
        .failed_with(&["prices.csv", "there already", "--force"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    let done = sandbox.run(["price", "export", "prices.csv", "--force"]);
    assert_eq!(done.stdout, "0 rows written to prices.csv\n");
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        "route,prefix,price,effective_from\n"
    );
    let names = fs::read_dir(sandbox.place.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    assert!(
        !names
            .into_iter()
            .any(|name| name.to_string_lossy().ends_with(".partial"))
    );
}

#[test]
fn nothing_is_imported_where_a_line_is_wrong() {
    let sandbox = Sandbox::start();
    let table =
        "route,prefix,price,effective_from\nall,+39,0.5,2020-01-01\nall,+40,x,2020-01-01\nall,4O,1,2020-01-01\n";
    fs::write(sandbox.place.path().join("prices.csv"), table).unwrap();
    sandbox.run(["price", "import", "prices.csv"]).failed_with(&[
        "prices.csv",
        "nothing was set",
        "2 lines are wrong",
        "line 3: `x` is no price",
        "line 4: `4O` is no number prefix",
    ]);
    assert!(sandbox.json(&["price", "history"]).as_array().unwrap().is_empty());
}

#[test]
fn a_file_that_is_no_list_is_told_without_a_server() {
    let place = Place::new();
    fs::write(place.path().join("empty.csv"), "").unwrap();
    fs::write(place.path().join("header.csv"), "route,prefix,price,effective_from\n").unwrap();
    place
        .run(["price", "import", "nowhere.csv"])
        .failed_with(&["nowhere.csv"]);
    place
        .run(["price", "import", "empty.csv"])
        .failed_with(&["empty.csv", "route,prefix,price"]);
    place
        .run(["price", "import", "header.csv"])
        .failed_with(&["header.csv", "holds no price"]);
}

#[test]
fn every_price_that_was_ever_set_is_listed() {
    let sandbox = sandbox_with_prices();
    let history = sandbox.json(&["price", "history"]);
    assert_eq!(history.as_array().unwrap().len(), 6);
    assert_eq!(history[5]["route"], "inbox");
    assert!(history[5].get("price").is_none(), "{history}");
    let people = sandbox.run(["price", "history"]).stdout;
    assert!(people.contains("removed") && people.contains("operator"), "{people}");
}
