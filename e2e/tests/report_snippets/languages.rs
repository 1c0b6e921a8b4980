//! How a snippet of each language is run: what stands around it, and the program that runs it. Cases go in as JSON, with the
//! body in base64; a list of verdicts comes out.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::Case;

/// A language of the page.
pub(crate) struct Language {
    pub(crate) name: &'static str,
    /// What stands behind the opening fence of its code.
    pub(crate) fence: &'static str,
    /// The program that runs it.
    pub(crate) runtime: &'static str,
    arguments: &'static [&'static str],
    file: &'static str,
    before: &'static str,
    after: &'static str,
}

pub(crate) const LANGUAGES: &[Language] = &[
    Language {
        name: "Python",
        fence: "python",
        runtime: "python3",
        arguments: &["-B"],
        file: "verify.py",
        before: "",
        after: r#"
import base64, json, sys
cases = json.load(sys.stdin)
print(json.dumps([verify_report(c["token"], c["timestamp"], base64.b64decode(c["body"]), c["signature"]) for c in cases]))
"#,
    },
    Language {
        name: "Node",
        fence: "js",
        runtime: "node",
        arguments: &[],
        file: "verify.js",
        before: "",
        after: r#"
const cases = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
const judge = (c) => verifyReport(c.token, c.timestamp, Buffer.from(c.body, "base64"), c.signature);
console.log(JSON.stringify(cases.map(judge)));
"#,
    },
    Language {
        name: "PHP",
        fence: "php",
        runtime: "php",
        arguments: &["-d", "display_errors=stderr"],
        file: "verify.php",
        before: "<?php\ndeclare(strict_types=1);\n",
        after: r#"
$judge = fn (array $c): bool => verify_report($c["token"], $c["timestamp"], base64_decode($c["body"]), $c["signature"]);
echo json_encode(array_map($judge, json_decode(stream_get_contents(STDIN), true)));
"#,
    },
    Language {
        name: "Go",
        fence: "go",
        runtime: "go",
        arguments: &["run"],
        file: "verify.go",
        before: r#"package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"strconv"
	"time"
)

type reportCase struct {
	Token, Timestamp, Signature string
	Body                        []byte
}

"#,
        after: r"
func main() {
	var cases []reportCase
	if err := json.NewDecoder(os.Stdin).Decode(&cases); err != nil {
		panic(err)
	}
	judged := []bool{}
	for _, c := range cases {
		judged = append(judged, verifyReport(c.Token, c.Timestamp, c.Body, c.Signature, 300*time.Second))
	}
	if err := json.NewEncoder(os.Stdout).Encode(judged); err != nil {
		panic(err)
	}
}
",
    },
];

impl Language {
    /// What a snippet says of each case; `None` where its runtime isn't on the machine.
    pub(crate) fn judge(&self, snippet: &str, cases: &[Case]) -> Result<Option<Vec<bool>>> {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join(self.file);
        std::fs::write(&file, format!("{}{snippet}{}", self.before, self.after))?;
        let Some(output) = self.run(&file, directory.path(), &input(cases)?)? else {
            return Ok(None);
        };
        let judged = serde_json::from_slice(&output).with_context(|| {
            let printed = String::from_utf8_lossy(&output);
            format!("the {} snippet printed {printed}", self.name)
        })?;
        Ok(Some(judged))
    }

    fn run(&self, file: &Path, directory: &Path, input: &[u8]) -> Result<Option<Vec<u8>>> {
        let started = Command::new(self.runtime)
            .args(self.arguments)
            .arg(file)
            .current_dir(directory)
            // Go compiles: what it keeps of that goes with the directory.
            .env("GOCACHE", directory.join("cache"))
            .env("GOPATH", directory.join("go"))
            .env("GOTOOLCHAIN", "local")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match started {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context(self.runtime),
        };
        // The cases fit the pipe's buffer many times over, and are read before anything is written.
        child.stdin.take().context("a pipe")?.write_all(input)?;
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "the {} snippet ended with {}: {said}",
            self.name,
            output.status
        );
        Ok(Some(output.stdout))
    }
}

fn input(cases: &[Case]) -> Result<Vec<u8>> {
    let cases: Vec<_> = cases
        .iter()
        .map(|case| {
            json!({
                "token": case.token,
                "timestamp": case.timestamp,
                "body": STANDARD.encode(&case.body),
                "signature": case.signature,
            })
        })
        .collect();
    Ok(serde_json::to_vec(&cases)?)
}
