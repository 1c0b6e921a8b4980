//! The figures: what was aimed at, what was measured, on which machine; as a table for people and as JSON for programs.

use std::fmt::Write as _;
use std::fs;

use serde_json::{Value, json};

/// What a figure is held against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Target {
    /// At least so much.
    AtLeast(f64),
    /// At most so much.
    AtMost(f64),
    /// Nothing: told for information.
    None,
}

/// One line of the table.
#[derive(Debug, Clone)]
pub(super) struct Figure {
    /// What was measured.
    pub(super) name: &'static str,
    /// What it is held against.
    pub(super) target: Target,
    /// The measured value.
    pub(super) value: f64,
    /// Its unit; empty for a ratio.
    pub(super) unit: &'static str,
    /// What it is made of.
    pub(super) detail: String,
}

impl Figure {
    /// Whether the target is reached; `None` where there is none.
    pub(super) fn passed(&self) -> Option<bool> {
        match self.target {
            Target::AtLeast(bound) => Some(self.value >= bound),
            Target::AtMost(bound) => Some(self.value <= bound),
            Target::None => None,
        }
    }

    fn target_text(&self) -> String {
        match self.target {
            Target::AtLeast(bound) => format!("≥ {}", with_unit(bound, self.unit)),
            Target::AtMost(bound) => format!("≤ {}", with_unit(bound, self.unit)),
            Target::None => "–".into(),
        }
    }

    fn verdict(&self) -> &'static str {
        match self.passed() {
            Some(true) => "pass",
            Some(false) => "miss",
            None => "–",
        }
    }

    fn json(&self) -> Value {
        let (at_least, at_most) = match self.target {
            Target::AtLeast(bound) => (Some(bound), None),
            Target::AtMost(bound) => (None, Some(bound)),
            Target::None => (None, None),
        };
        json!({
            "name": self.name, "value": self.value, "unit": self.unit, "at_least": at_least, "at_most": at_most,
            "passed": self.passed(), "detail": self.detail,
        })
    }
}

fn with_unit(value: f64, unit: &str) -> String {
    let digits = if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.3}")
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned()
    };
    if unit.is_empty() {
        digits
    } else {
        format!("{digits} {unit}")
    }
}

/// What the figures were measured on.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    processor: String,
    cores: usize,
    memory_gb: f64,
    kernel: String,
    /// Median of an 8 KiB append with `fdatasync`, in microseconds.
    pub(super) fsync_us: f64,
}

impl Machine {
    /// Looks at /proc.
    pub(super) fn look(fsync_us: f64) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
            line.map_or_else(
                || "unknown".into(),
                |rest| rest.trim_start_matches([' ', '\t', ':']).to_owned(),
            )
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let kibibytes: f64 = memory
            .split_whitespace()
            .next()
            .and_then(|text| text.parse().ok())
            .unwrap_or(0.0);
        Self {
            processor: field(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gb: kibibytes * 1024.0 / 1e9,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            fsync_us,
        }
    }

    /// One sentence.
    pub(super) fn text(&self) -> String {
        format!(
            "{} with {} cores and {:.0} GB, Linux {}; appending 8 KiB with fdatasync takes {:.0} µs (median)",
            self.processor, self.cores, self.memory_gb, self.kernel, self.fsync_us
        )
    }
}

/// The table, in Markdown.
pub(super) fn table(machine: &Machine, figures: &[Figure]) -> String {
    let mut text = format!("Machine: {}\n\n", machine.text());
    text += "| figure | target | measured | | made of |\n| --- | --- | --- | --- | --- |\n";
    for figure in figures {
        // Writing into a string can't fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            figure.name,
            figure.target_text(),
            with_unit(figure.value, figure.unit),
            figure.verdict(),
            figure.detail
        );
    }
    text
}

/// The same as one JSON object.
pub(super) fn json(machine: &Machine, figures: &[Figure]) -> Value {
    json!({
        "machine": {
            "processor": machine.processor, "cores": machine.cores, "memory_gb": machine.memory_gb,
            "kernel": machine.kernel, "fsync_us": machine.fsync_us,
        },
        "figures": figures.iter().map(Figure::json).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_held_against_its_target() {
        let mut figure = Figure {
            name: "send",
            target: Target::AtLeast(0.6),
            value: 0.61,
            unit: "",
            detail: String::new(),
        };
        assert_eq!((figure.passed(), figure.target_text().as_str()), (Some(true), "≥ 0.6"));
        figure.target = Target::AtMost(0.2);
        assert_eq!(figure.passed(), Some(false));
        figure.target = Target::None;
        assert_eq!(figure.passed(), None);
    }

    #[test]
    fn values_are_shown_with_three_digits() {
        assert_eq!(with_unit(0.6543, ""), "0.654");
        assert_eq!(with_unit(20.0, "ms"), "20.0 ms");
        assert_eq!(with_unit(1234.5, "µs"), "1234 µs");
    }
}
