use std::fs;
use std::path::Path;

use countersign_core::SandboxNumbers;

use super::*;

fn chosen_of(texts: &Texts, asked: Option<&str>, phone: &str) -> String {
    let phone = PhoneNumber::parse(phone, SandboxNumbers::Accepted).unwrap();
    let asked = asked.map(|asked| Locale::parse(asked).unwrap());
    texts.language(asked.as_ref(), phone).tag().to_string()
}

fn chosen(asked: Option<&str>, phone: &str) -> String {
    chosen_of(&Texts::built_in().unwrap(), asked, phone)
}

fn language<'t>(texts: &'t Texts, tag: &str) -> &'t Language {
    let mut languages = texts.languages().iter();
    languages.find(|language| language.tag().to_string() == tag).unwrap()
}

fn code(language: &Language) -> String {
    language.text("code", &[("code", Argument::Text("482913"))])
}

/// A folder with these files, and what is read out of it where there are channels `sms` and `bot`.
struct Folder(tempfile::TempDir);

impl Folder {
    fn of(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let file = folder.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        Self(folder)
    }

    fn read_with(&self, default_language: &str) -> Result<Arc<Texts>, String> {
        let own = OwnTexts {
            folder: Some(self.0.path().to_owned()),
            default_language: Locale::parse(default_language).unwrap(),
        };
        let channels = ["sms", "bot"].map(|name| LegName::parse(name).unwrap());
        let texts = Texts::with_own(&own, &channels);
        texts.map_err(|error| error.to_string().replace(&format!("{}/", self.0.path().display()), ""))
    }

    fn read(&self) -> Result<Arc<Texts>, String> {
        self.read_with("en")
    }
}

#[test]
fn the_language_asked_for_comes_before_the_countrys() {
    assert_eq!(chosen(Some("de"), "+34600000001"), "de");
    assert_eq!(chosen(Some("pt-BR"), "+34600000001"), "pt");
    assert_eq!(chosen(Some("ar-EG"), "+34600000001"), "ar");
    assert_eq!(chosen(Some("ja"), "+34600000001"), "es");
}

#[test]
fn the_numbers_country_says_its_language() {
    for (phone, tag) in [
        ("+4915112345678", "de"),
        ("+41791234567", "de"),
        ("+5511912345678", "pt"),
        ("+525512345678", "es"),
        ("+79161234567", "ru"),
        ("+966512345678", "ar"),
        ("+12025550123", "en"),
        ("+393331234567", "en"),
        ("+9996612345", "en"),
    ] {
        assert_eq!(chosen(None, phone), tag, "{phone}");
    }
}

#[test]
fn where_no_number_is_known_the_language_asked_for_or_the_default_is_spoken() {
    let texts = Texts::built_in().unwrap();
    let asked = Locale::parse("ru-UA");
    assert_eq!(texts.language(asked.as_ref(), None).tag().to_string(), "ru");
    assert_eq!(texts.language(None, None).tag().to_string(), "en");
}

#[test]
fn counts_choose_their_words() {
    let texts = Texts::built_in().unwrap();
    let russian = language(&texts, "ru");
    let life = |minutes| russian.text("email-life", &[("minutes", Argument::Number(minutes))]);
    assert_eq!(life(1), "Он действует 1 минуту.");
    assert_eq!(life(3), "Он действует 3 минуты.");
    assert_eq!(life(5), "Он действует 5 минут.");
}

#[test]
fn all_built_in_languages_have_the_same_texts_with_the_same_arguments_and_each_can_be_filled_in() {
    let sources = built_in_sources().unwrap();
    let shapes = Shapes::of_english(&sources).unwrap();
    let texts = Texts::built_in().unwrap();
    for source in &sources {
        check::check(source, &shapes).unwrap();
        let own = Shapes::of_file(source).unwrap();
        for (id, shape) in shapes.iter() {
            let found = own.get(id);
            let found = found.unwrap_or_else(|| panic!("{} lacks {id}", source.place));
            // Arabic has words of its own for one and two, without the number.
            let same = shape.arguments.keys().eq(found.arguments.keys());
            assert!(same, "{}: {id} isn’t given what it is in English", source.place);
        }
    }
    for language in texts.languages() {
        check::try_out(language, &shapes).unwrap();
    }
}

#[test]
fn every_text_is_used_and_stands_in_the_documentation() {
    fn sources(folder: &Path, all: &mut String) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, all);
            } else if !path.ends_with("tests.rs") {
                all.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = String::new();
    sources(&crate_folder.join("src"), &mut code);
    let docs = fs::read_to_string(crate_folder.join("../../docs/texts.md")).unwrap();
    let shapes = Shapes::of_english(&built_in_sources().unwrap()).unwrap();
    for (id, shape) in shapes.iter() {
        let used = code.contains(&format!("\"{id}\""));
        assert!(used, "nothing uses {id}");
        let arguments: Vec<_> = shape.arguments.keys().map(|name| format!("`{{ ${name} }}`")).collect();
        let row = format!("| `{id}` | {} |", arguments.join(" "));
        assert!(
            docs.replace("|  |", "| |").contains(&row.replace("|  |", "| |")),
            "docs/texts.md lacks {row}"
        );
    }
    let ids = docs
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    for (id, _) in ids.filter(|(id, _)| id.contains('-') && !id.contains(['.', '/'])) {
        assert!(shapes.get(id).is_some(), "docs/texts.md names {id}, which there isn’t");
    }
}

#[test]
fn a_file_of_the_operator_adds_a_language_which_falls_back_to_the_default_one() {
    let folder = Folder::of(&[(
        "it.ftl",
        "# Italiano\n-noi = Acme\nsms-code = { $code } è il codice di { -noi }.\n",
    )]);
    let texts = folder.read().unwrap();
    assert_eq!(chosen_of(&texts, None, "+393331234567"), "it");
    let italian = language(&texts, "it");
    let sms = italian.text("sms-code", &[("code", Argument::Text("482913"))]);
    assert_eq!(sms, "482913 è il codice di Acme.");
    assert_eq!(code(italian), "482913 is your verification code.");
    let texts = folder.read_with("de").unwrap();
    assert_eq!(code(language(&texts, "it")), "482913 ist Ihr Bestätigungscode.");
    assert_eq!(chosen_of(&texts, None, "+8613812345678"), "de");
    assert_eq!(
        chosen_of(&folder.read_with("it").unwrap(), None, "+8613812345678"),
        "it"
    );
}

#[test]
fn a_file_of_the_operator_replaces_single_texts_of_a_language() {
    let texts = Folder::of(&[("de.ftl", "code = Dein Code: { $code }\n")])
        .read()
        .unwrap();
    let german = language(&texts, "de");
    assert_eq!(code(german), "Dein Code: 482913");
    assert_eq!(german.text("telegram-button-copy", &[]), "Code kopieren");
    assert_eq!(code(language(&texts, "en")), "482913 is your verification code.");
}

#[test]
fn what_a_countrys_own_file_lacks_comes_from_its_language() {
    let texts = Folder::of(&[
        ("pt-PT.ftl", "telegram-button-share = Partilhar o meu número\n"),
        ("zh-TW.ftl", "code = { $code } 是您的驗證碼。\n"),
    ])
    .read()
    .unwrap();
    let european = language(&texts, "pt-PT");
    assert_eq!(european.text("telegram-button-share", &[]), "Partilhar o meu número");
    assert_eq!(code(european), "482913 é o seu código de verificação.");
    assert_eq!(chosen_of(&texts, None, "+351912345678"), "pt-PT");
    assert_eq!(chosen_of(&texts, None, "+5511912345678"), "pt");
    assert_eq!(
        chosen_of(&texts, Some("pt-AO"), "+5511912345678"),
        "pt-PT",
        "CLDR’s parent"
    );
    assert_eq!(chosen_of(&texts, Some("zh-Hant"), "+4915112345678"), "zh-TW");
    assert_eq!(
        chosen_of(&texts, Some("zh-CN"), "+4915112345678"),
        "de",
        "another script"
    );
}

#[test]
fn a_channels_own_texts_are_its_alone() {
    let texts = Folder::of(&[
        ("de.ftl", "code = Für alle: { $code }\n"),
        ("sms/de.ftl", "sms-code = Nur SMS: { $code }\n"),
        ("sms/it.ftl", "sms-code = Codice: { $code }\n"),
        ("notes.txt", "not a text"),
        (".git/config", "not a channel"),
    ])
    .read()
    .unwrap();
    let sms = texts.of_channel(&LegName::parse("sms").unwrap());
    let bot = texts.of_channel(&LegName::parse("bot").unwrap());
    let short = |texts: &Texts| language(texts, "de").text("sms-code", &[("code", Argument::Text("482913"))]);
    assert_eq!(short(&sms), "Nur SMS: 482913");
    assert_eq!(short(&bot), "482913 ist Ihr Bestätigungscode.");
    assert_eq!(code(language(&sms, "de")), "Für alle: 482913");
    assert_eq!(code(language(&bot, "de")), "Für alle: 482913");
    assert_eq!(chosen_of(&sms, Some("it"), "+4915112345678"), "it");
    assert_eq!(chosen_of(&bot, Some("it"), "+4915112345678"), "de");
}

#[test]
fn a_mistake_is_named_with_its_file_and_line() {
    let long = format!("code = {} {{ $code }}\n", "a".repeat(1_000));
    let answer = format!("telegram-answer-too-old = {}\n", "a".repeat(201));
    let huge = format!("# {}\n", "a".repeat(70_000));
    for (name, text, error) in [
        (
            "it.ftl",
            "code = { $code }\nsms-code\n",
            "it.ftl, line 2: this is no Fluent: ",
        ),
        ("it.ftl", "code = { $code\n", "it.ftl, line "),
        (
            "it.ftl",
            "\nsms-cod = { $code }\n",
            "it.ftl, line 2: sms-cod is no text of ours, so it would never be used",
        ),
        (
            "it.ftl",
            "code = { $code }\ncode = { $code }!\n",
            "it.ftl, line 2: code stands here for the second time",
        ),
        (
            "it.ftl",
            "code = { $kode }\n",
            "it.ftl, line 1: code shows { $kode }, but it is given { $code }",
        ),
        (
            "it.ftl",
            "email-warning = { $code }\n",
            "it.ftl, line 1: email-warning shows { $code }, but it is given nothing",
        ),
        (
            "it.ftl",
            "code = { code }\n",
            "it.ftl, line 1: code shows { code }, another text: write { $code }",
        ),
        (
            "it.ftl",
            "code-from =\n    { $sender ->\n        [acme_shop] Acme\n       *[other] { $code }\n    }\n",
            "it.ftl, line 1: code-from doesn’t show { $code } in each of its wordings",
        ),
        (
            "it.ftl",
            "email-warning = { email-heading }\n",
            "it.ftl, line 1: email-warning shows { email-heading }, another text",
        ),
        (
            "it.ftl",
            "code = { $code } { -noi }\n",
            "it.ftl, line 1: code shows { -noi }, which isn’t defined in this file",
        ),
        (
            "it.ftl",
            "code = { NUMBER($code) } { $code }\n",
            "it.ftl, line 1: code calls NUMBER(), and there are no functions",
        ),
        (
            "it.ftl",
            "code = { $code }\n    .title = x\n",
            "it.ftl, line 1: code has attributes, which nothing reads",
        ),
        (
            "it.ftl",
            "-a = { -b }\n-b = { -a }\ncode = { $code } { -a }\n",
            "it.ftl: code can’t be filled in: ",
        ),
        (
            "it.ftl",
            "sms-code =\n    { $code }\n    ciao\n",
            "it.ftl: sms-code must be one line",
        ),
        ("it.ftl", &long, "it.ftl: code must have 1 to 1000 characters"),
        (
            "it.ftl",
            &answer,
            "it.ftl: telegram-answer-too-old must have 1 to 200 characters",
        ),
        ("it.ftl", &huge, "it.ftl: is longer than 64 KiB"),
        ("italiano.ftl", "", "italiano.ftl: its name is no language tag"),
        ("und.ftl", "", "und.ftl: its name is no language tag"),
        (
            "smss/it.ftl",
            "",
            "smss: no channel has that name, so its texts would never be used; there are: sms, bot",
        ),
        ("sms/more/it.ftl", "", "sms/more: a channel’s folder has files alone"),
    ] {
        let read = Folder::of(&[(name, text)]).read();
        let found = read.err().unwrap_or_else(|| panic!("{text} passed"));
        assert!(found.starts_with(error), "{found}\nisn’t\n{error}");
    }
}

#[test]
fn files_that_can_not_be_told_apart_or_read_are_refused() {
    let twice = Folder::of(&[("pt-BR.ftl", ""), ("pt_BR.ftl", "")]).read().unwrap_err();
    assert!(twice.contains("of the same language as"), "{twice}");
    let folder = Folder::of(&[]);
    fs::write(folder.0.path().join("it.ftl"), [0xff, 0xfe]).unwrap();
    let unreadable = folder.read().unwrap_err();
    assert!(unreadable.starts_with("it.ftl: can’t be read: "), "{unreadable}");
    let letter = |number: u8| char::from(b'a' + number % 26);
    let files = (0..=200).map(|number| format!("x{}{}.ftl", letter(number / 26), letter(number)));
    let files: Vec<_> = files.collect();
    let files: Vec<_> = files.iter().map(|name| (name.as_str(), "")).collect();
    let many = Folder::of(&files).read().unwrap_err();
    assert!(many.contains("more than 200 files"), "{many}");
}

#[test]
fn a_folder_or_a_default_language_that_is_not_there_is_refused() {
    let own = |folder: Option<&str>, default: &str| OwnTexts {
        folder: folder.map(Into::into),
        default_language: Locale::parse(default).unwrap(),
    };
    let error = Texts::with_own(&own(Some("/nonexistent/texts"), "en"), &[])
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("/nonexistent/texts: can’t be read"), "{error}");
    let error = Texts::with_own(&own(None, "it"), &[]).unwrap_err().to_string();
    assert_eq!(
        error,
        "texts.default_language: there are no texts in “it”: put a file it.ftl into texts.folder"
    );
    for (default, spoken) in [("ar", "ar"), ("pt-BR", "pt"), ("es-MX", "es")] {
        let texts = Texts::with_own(&own(None, default), &[]).unwrap();
        assert_eq!(texts.language(None, None).tag().to_string(), spoken);
    }
}

#[test]
fn the_example_in_the_documentation_can_be_read() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/texts.md");
    let docs = fs::read_to_string(docs).unwrap();
    let (_, example) = docs.split_once("```\n# it.ftl\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let texts = Folder::of(&[("it.ftl", example)]).read().unwrap();
    let sms = language(&texts, "it").text("sms-code", &[("code", Argument::Text("482913"))]);
    assert_eq!(sms, "482913 è il tuo codice di Acme.");
}
