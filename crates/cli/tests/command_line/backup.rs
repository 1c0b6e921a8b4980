//! `backup`, `restore` and `key`: beside a running server and without one, and what they refuse.

use std::fs;

use crate::support::{Place, Sandbox};

#[test]
fn a_backup_beside_a_running_server_is_restored_elsewhere_with_the_exported_key() {
    let sandbox = Sandbox::start();
    let sent = sandbox.json(&["send", "+391234567890"]);
    let made = sandbox.json(&["backup", "books.db"]);
    let fingerprint = made["key_fingerprint"].as_str().unwrap();
    assert_eq!(fingerprint.len(), 19, "{made}");
    assert_eq!(sandbox.json(&["key", "fingerprint"])["key_fingerprint"], fingerprint);
    assert_eq!(
        sandbox.json(&["key", "export", "exported.key"])["key_fingerprint"],
        fingerprint
    );
    sandbox
        .run(["key", "export", "exported.key"])
        .failed_with(&["already there"]);
    sandbox
        .run(["backup", "books.db"])
        .failed_with(&["already there", "--force"]);
    sandbox.json(&["backup", "books.db", "--force"]);

    let elsewhere = Place::new();
    let path = |name: &str| sandbox.place.path().join(name).display().to_string();
    let (backup, key) = (path("books.db"), path("exported.key"));
    elsewhere
        .run(["restore", &backup])
        .failed_with(&["master key is missing", "--key"]);
    let restored = elsewhere.run(["restore", &backup, "--key", &key, "--json"]).json();
    assert_eq!(restored["key_fingerprint"], fingerprint);
    let audit = elsewhere.run(["audit", "--json"]).json();
    assert_eq!((&audit["ok"], &audit["requests"]), (&true.into(), &1.into()), "{sent}");
    elsewhere
        .run(["restore", &backup, "--key", &key])
        .failed_with(&["books in", "--force"]);
    // The key was put where the server looks for it.
    let again = elsewhere.run(["restore", &backup, "--force", "--json"]).json();
    assert!(fs::exists(elsewhere.path().join(again["old_books"].as_str().unwrap())).unwrap());
}

#[test]
fn the_master_key_is_changed_beside_a_running_server_and_its_files_change_places() {
    let mut sandbox = Sandbox::start();
    let sent = sandbox.json(&["send", "+391234567890"]);
    let old = sandbox.json(&["key", "fingerprint"])["key_fingerprint"].clone();
    let rotated = sandbox.json(&["keys", "rotate"]);
    assert_ne!(rotated["key_fingerprint"], old);
    assert!(rotated["resealed"].as_u64() > Some(1), "{rotated}");
    assert_eq!(rotated["unreadable"], 0);
    assert_eq!(
        sandbox.json(&["key", "fingerprint"])["key_fingerprint"],
        rotated["key_fingerprint"]
    );
    let data_dir = sandbox.place.path().join("countersign-data");
    let file = |name: &str| data_dir.join(name);
    assert!(file("master.key.old").exists() && !file("master.key.next").exists());
    // The token is still the token, and the code is still there to be checked.
    let id = sent["request_id"].as_str().unwrap();
    assert_eq!(sandbox.json(&["status", id])["request_id"], id);
    assert_eq!(sandbox.json(&["audit"])["ok"], true);
    // Once more: from the new key to another.
    let again = sandbox.json(&["key", "rotate"]);
    assert_ne!(again["key_fingerprint"], rotated["key_fingerprint"]);
    let url = sandbox.url().to_owned();
    sandbox.terminate();
    sandbox.run(["keys", "rotate", "--url", &url]).failed_with(&[&url]);
    assert!(
        !file("master.key.next").exists(),
        "a key was made although no server answered"
    );
}

#[test]
fn what_is_kept_of_a_number_is_exported_and_erased() {
    let sandbox = Sandbox::start();
    let sent = sandbox.json(&["send", "+391234567890"]);
    let kept = sandbox.json(&["privacy", "export", "+391234567890"]);
    assert_eq!(kept["requests"][0]["request_id"], sent["request_id"], "{kept}");
    let id = sent["request_id"].as_str().unwrap();
    sandbox.json(&["revoke", id]);
    let erased = sandbox.json(&["privacy", "erase", "+391234567890"]);
    assert_eq!(
        (&erased["requests"], &erased["still_open"]),
        (&1.into(), &0.into()),
        "{erased}"
    );
    let kept = sandbox.json(&["privacy", "export", "+391234567890"]);
    assert_eq!(kept["requests"].as_array().unwrap().len(), 0, "{kept}");
    assert_eq!(sandbox.json(&["audit"])["ok"], true);
    sandbox
        .run(["privacy", "erase", "12"])
        .failed_with(&["no phone number"]);
}

#[test]
fn a_data_directory_in_use_is_never_restored_over() {
    let sandbox = Sandbox::start();
    sandbox.json(&["backup", "books.db"]);
    for force in [&["restore", "books.db"][..], &["restore", "books.db", "--force"]] {
        sandbox
            .run(force)
            .failed_with(&["a server uses the data directory", "nothing was restored"]);
    }
    assert_eq!(sandbox.json(&["audit"])["ok"], true);
}

#[test]
fn a_wrong_key_and_a_foreign_file_are_refused() {
    let mut sandbox = Sandbox::start();
    sandbox.json(&["backup", "books.db"]);
    assert_eq!(sandbox.terminate().code(), Some(0));
    let place = &sandbox.place;
    fs::write(place.path().join("wrong.key"), "ab".repeat(32)).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(place.path().join("wrong.key"), fs::Permissions::from_mode(0o600)).unwrap();
    }
    place
        .run(["restore", "books.db", "--key", "wrong.key", "--data-dir", "new"])
        .failed_with(&["doesn't fit this backup"]);
    place
        .run(["restore", "books.db", "--key", "wrong.key", "--force"])
        .failed_with(&["another master key", "left alone"]);
    fs::write(place.path().join("foreign.db"), "x".repeat(500)).unwrap();
    place
        .run(["restore", "foreign.db", "--force"])
        .failed_with(&["foreign.db", "no backup of Countersign's books"]);
    place.run(["audit"]);
    assert_eq!(place.run(["audit", "--json"]).json()["ok"], true);
}

#[test]
fn a_resting_data_directory_is_backed_up_without_a_server() {
    let mut sandbox = Sandbox::start();
    sandbox.json(&["send", "+391234567890"]);
    assert_eq!(sandbox.terminate().code(), Some(0));
    let place = &sandbox.place;
    let made = place.run(["backup", "books.db", "--json"]).json();
    let file = place.path().join("books.db");
    assert_eq!(made["bytes"], fs::metadata(&file).unwrap().len());
    let people = place.run(["backup", "books.db", "--force"]);
    assert_eq!(people.exit, 0);
    assert!(
        people.stdout.contains("✓ the backup is whole") && people.stderr.is_empty(),
        "{people:?}"
    );
    place
        .run(["backup", "countersign-data/countersign.db", "--force"])
        .failed_with(&["one of the books' own files"]);
    assert_eq!(place.run(["audit", "--json"]).json()["requests"], 1);
    let nowhere = Place::new();
    nowhere.run(["backup", "books.db"]).failed_with(&["operator"]);
}
