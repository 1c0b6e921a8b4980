use super::*;

fn read(text: &str, variables: &[(&str, &str)]) -> Result<(Vec<ChannelSettings>, Vec<RouteSettings>), String> {
    let environment = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    super::read(&text.parse().unwrap(), &environment).map_err(|error| error.to_string())
}

const TWO: &str = r#"
    [channels.telegram]
    kind = "telegram_bot"
    token = "1:abc"
    [channels.sms]
    kind = "smpp"
    cost = "0.045"
    port = 2775
"#;

#[test]
fn channels_and_routes_are_read_with_equal_shares_where_none_are_set() {
    let routes =
        "[routes.main]\nlegs = [\"telegram\", \"sms\"]\nskip = [\"sms:+7\"]\nprefixes = [\"+39\"]\nkinds = [\"code\"]";
    let (channels, routes) = read(&format!("{TWO}{routes}"), &[]).unwrap();
    assert_eq!(channels.len(), 2);
    assert_eq!(channels[0].cost, Credits::parse("0.045").ok());
    assert_eq!(channels[0].config.values.get("port"), Some(&ConfigValue::Whole(2775)));
    let legs: Vec<_> = routes[0]
        .legs
        .iter()
        .map(|leg| (leg.channel.as_str(), leg.share, leg.skip.len()))
        .collect();
    assert_eq!(legs, [("telegram", 500, 0), ("sms", 500, 1)]);
    assert_eq!(
        (routes[0].prefixes.len(), routes[0].kinds.as_slice()),
        (1, [MessageKind::Code].as_slice())
    );
}

#[test]
fn a_variable_sets_a_key_of_a_channel_and_a_channel_can_stand_in_variables_alone() {
    let text = "[channels.sms]\nkind = \"smpp\"\n[routes.main]\nlegs = [\"sms\", \"sms_two\"]\nshares = [30, 70]";
    let variables = [
        ("COUNTERSIGN_CHANNELS_SMS_PASSWORD", "secret"),
        ("COUNTERSIGN_CHANNELS_SMS_TWO_KIND", "smpp"),
        ("COUNTERSIGN_CHANNELS_SMS_TWO_PASSWORD", "other"),
    ];
    let (channels, routes) = read(text, &variables).unwrap();
    let password = |place: usize| channels[place].config.values.get("password").cloned();
    assert_eq!(password(0), Some(ConfigValue::Text("secret".to_owned())));
    assert_eq!(password(1), Some(ConfigValue::Text("other".to_owned())));
    assert_eq!(routes[0].legs[1].share, 700);
    assert!(!format!("{channels:?}").contains("secret"));
}

#[test]
fn what_makes_no_sense_is_refused_with_a_sentence() {
    let cases = [
        ("[channels.inbox]\nkind = \"smpp\"", "channels.inbox: a channel’s name"),
        ("[channels.sms]\nport = 1", "channels.sms.kind: missing"),
        (
            "[channels.sms]\nkind = \"smpp\"\ncost = \"-1\"",
            "channels.sms.cost: expected an amount",
        ),
        (TWO, "no route has this leg"),
        ("[routes.default]\nlegs = [\"inbox\"]", "routes.default: a route’s name"),
        ("[routes.main]\nlegs = []", "routes.main.legs: expected 1 to 8"),
        ("[routes.main]\nlegs = [\"pigeon\"]", "there is no channel pigeon"),
        (
            "[routes.main]\nlegs = [\"inbox\", \"inbox\"]",
            "inbox stands there twice",
        ),
        (
            "[routes.main]\nlegs = [\"inbox\"]\nshares = [50]",
            "shares: expected 1 whole percents",
        ),
        (
            "[routes.main]\nlegs = [\"inbox\"]\nskip = [\"sms:+7\"]",
            "skip: expected a leg of this route",
        ),
        (
            "[routes.main]\nlegs = [\"inbox\"]\nkinds = [\"news\"]",
            "kinds: expected \"code\" or \"login\"",
        ),
        (
            "[routes.main]\nlegs = [\"inbox\"]\ncolour = \"red\"",
            "routes.main.colour: a route has",
        ),
        ("routes = 7", "routes: expected sections"),
        (
            "[routes.one]\nlegs = [\"inbox\"]\n[routes.two]\nlegs = [\"inbox\"]",
            "are for the same messages",
        ),
    ];
    for (text, wanted) in cases {
        let refused = read(text, &[]).unwrap_err();
        assert!(refused.contains(wanted), "{text}: {refused}");
    }
}
