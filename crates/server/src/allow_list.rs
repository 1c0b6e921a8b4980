//! Address allow-lists as people write them: single addresses and CIDR ranges, IPv4 and IPv6, made into the shortest list
//! that means the same. The pages and the operator's API read them here; `api::caller` goes by them.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

/// Bits of an IPv6 address before the IPv4 address that it maps (`::ffff:0:0/96`, RFC 4291, section 2.5.5.2).
const MAPPED_PREFIX: u8 = 96;

/// A list as it is kept, and what was changed of what was written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct AllowList {
    pub(crate) ranges: Vec<IpNet>,
    /// Sentences for whoever wrote the list.
    pub(crate) notes: Vec<String>,
}

/// What is no address and no range; shortened, to be shown.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoRange(pub(crate) String);

impl AllowList {
    /// Reads entries; one that is contained in another is left out.
    pub(crate) fn read<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, NoRange> {
        let mut list = Self::default();
        for entry in entries {
            let entry = entry.trim();
            let range = read_range(entry).ok_or_else(|| NoRange(entry.chars().take(60).collect()))?;
            let kept = range.trunc();
            if kept != range {
                list.notes.push(format!(
                    "{entry} is kept as {kept}, which is the whole range that it is in"
                ));
            }
            list.add(kept);
        }
        Ok(list)
    }

    /// Reads a text: one entry a line, or several with commas or spaces between them. What follows a `#` is a comment.
    pub(crate) fn read_text(text: &str) -> Result<Self, NoRange> {
        Self::read(Self::entries(text))
    }

    /// The entries of a text, unread. Reading compares each with all before it: whoever takes texts from strangers counts first.
    pub(crate) fn entries(text: &str) -> impl Iterator<Item = &str> {
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
        let entries = lines.flat_map(|line| line.split([',', ';', ' ', '\t']));
        entries.filter(|entry| !entry.trim().is_empty())
    }

    fn add(&mut self, range: IpNet) {
        if let Some(wider) = self.ranges.iter().find(|kept| kept.contains(&range)) {
            if *wider != range {
                self.notes
                    .push(format!("{} is left out: {wider} contains it", written(range)));
            }
            return;
        }
        let notes = &mut self.notes;
        self.ranges.retain(|kept| {
            let is_inside = range.contains(kept);
            if is_inside {
                notes.push(format!("{} is left out: {range} contains it", written(*kept)));
            }
            !is_inside
        });
        self.ranges.push(range);
    }

    /// Whether calls from that address pass; an empty list allows all.
    pub(crate) fn allows(&self, address: IpAddr) -> bool {
        self.ranges.is_empty() || self.ranges.iter().any(|range| range.contains(&address))
    }
}

/// A range as people write it: a single address without its prefix.
pub(crate) fn written(range: IpNet) -> String {
    if range.prefix_len() == range.max_prefix_len() {
        range.addr().to_string()
    } else {
        range.to_string()
    }
}

/// An address or a range, where it is an IPv4-mapped one the IPv4 one that it means: callers are known by that.
fn read_range(text: &str) -> Option<IpNet> {
    let range = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse::<IpNet>().ok()?,
    };
    let mapped = match range {
        IpNet::V6(range) => range
            .addr()
            .to_ipv4_mapped()
            .zip(range.prefix_len().checked_sub(MAPPED_PREFIX)),
        IpNet::V4(_) => None,
    };
    let unmapped = mapped.and_then(|(address, prefix): (Ipv4Addr, u8)| Ipv4Net::new(address, prefix).ok());
    Some(unmapped.map_or(range, IpNet::V4))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str) -> Vec<String> {
        let list = AllowList::read_text(text).unwrap();
        list.ranges.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn addresses_and_ranges_of_both_families_are_read_however_they_are_separated() {
        let text = "192.0.2.7, 198.51.100.0/24\n\n  2001:db8::1 # the office\n2001:DB8:1::/48;203.0.113.9";
        let ranges = [
            "192.0.2.7/32",
            "198.51.100.0/24",
            "2001:db8::1/128",
            "2001:db8:1::/48",
            "203.0.113.9/32",
        ];
        assert_eq!(kept(text), ranges);
        assert_eq!(kept(" \n# nothing\n"), Vec::<String>::new());
    }

    #[test]
    fn mapped_forms_mean_the_ipv4_ones() {
        for (written, meant) in [
            ("::ffff:10.0.0.1", "10.0.0.1/32"),
            ("::ffff:a00:1", "10.0.0.1/32"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            // Wider than what is mapped: it is a range of IPv6.
            ("::ffff:0:0/80", "::/80"),
        ] {
            assert_eq!(kept(written), [meant], "{written}");
        }
    }

    #[test]
    fn bits_beyond_the_prefix_are_cleared_and_that_is_said() {
        let list = AllowList::read_text("192.0.2.7/24 ::ffff:10.1.2.3/104").unwrap();
        assert_eq!(
            list.ranges,
            ["192.0.2.0/24", "10.0.0.0/8"].map(|range| range.parse().unwrap())
        );
        assert_eq!(list.notes.len(), 2);
        assert!(
            list.notes[0].contains("192.0.2.7/24") && list.notes[0].contains("192.0.2.0/24"),
            "{:?}",
            list.notes
        );
    }

    #[test]
    fn duplicates_and_what_another_range_contains_are_left_out() {
        let list =
            AllowList::read_text("10.0.0.1\n10.0.0.1\n::ffff:10.0.0.1\n10.0.0.0/8\n10.2.0.0/16\n2001:db8::1").unwrap();
        assert_eq!(
            list.ranges,
            ["10.0.0.0/8", "2001:db8::1/128"].map(|range| range.parse().unwrap())
        );
        assert_eq!(
            list.notes,
            [
                "10.0.0.1 is left out: 10.0.0.0/8 contains it",
                "10.2.0.0/16 is left out: 10.0.0.0/8 contains it"
            ]
        );
    }

    #[test]
    fn what_is_no_range_is_named() {
        for wrong in [
            "10.0.0.256",
            "10.0.0.0/33",
            "2001:db8::/129",
            "example.com",
            "10.0.0",
            "10.0.0.1/",
            "fe80::1%eth0",
        ] {
            assert_eq!(
                AllowList::read_text(&format!("192.0.2.7\n{wrong}")),
                Err(NoRange(wrong.to_owned()))
            );
        }
    }

    #[test]
    fn an_empty_list_allows_all_and_another_one_its_own_alone() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(AllowList::default().allows(address("192.0.2.7")));
        let list = AllowList::read_text("192.0.2.0/24 2001:db8::/32").unwrap();
        assert!(list.allows(address("192.0.2.255")) && list.allows(address("2001:db8::9")));
        assert!(!list.allows(address("192.0.3.0")) && !list.allows(address("::1")));
    }
}
