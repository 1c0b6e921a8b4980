//! `/operator/texts`: what recipients read, in every language, as they see it: all languages at a glance, and one language in full
//! at `/operator/texts/TAG`. The words are the ones that channels send (`countersign_channels::preview`), the operator's own
//! included; `view` puts them into bubbles, and `sample` says which code and whose sender they show.

mod sample;
mod view;

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use axum::routing::get;
use countersign_channels::preview::{self, Seen};
use countersign_channels::{Language, Texts};
use countersign_core::LegName;

use super::{asked, link};
use crate::app::App;
use crate::site::bubbles::Tongue;
use crate::site::frame::Frame;
use crate::site::guard::Framing;
use crate::site::page::{self, PageError};
use crate::site::viewer::OperatorViewer;
use sample::sample;
use view::{Glance, InFull, LengthRow};

const PATH: &str = "/operator/texts";
/// E-mails by the name in their path, in the order of [`preview::email`].
const EMAILS: [&str; 3] = ["code", "code-from", "sign-in"];

/// A choice above the page.
struct Choice {
    label: String,
    /// The label's own language, where it is its name.
    tag: Option<String>,
    link: String,
    chosen: bool,
}

#[derive(Template)]
#[template(path = "operator_texts.html")]
struct AllPage {
    frame: Frame,
    languages: Vec<Choice>,
    channels: Vec<Choice>,
    /// The languages that the table has, by name.
    names: Vec<Named>,
    lengths: Vec<LengthRow>,
    glances: Vec<Glance>,
}

#[derive(Template)]
#[template(path = "operator_texts_language.html")]
struct LanguagePage {
    frame: Frame,
    languages: Vec<Choice>,
    channels: Vec<Choice>,
    named: Named,
    full: InFull,
}

/// A language's name in itself.
struct Named {
    name: String,
    tongue: Tongue,
}

impl Named {
    fn of(language: &Language) -> Self {
        let tongue = Tongue::of(language);
        Self {
            name: view::own_name(&tongue.tag).to_owned(),
            tongue,
        }
    }
}

/// The texts that are looked at: everybody's, or those of a channel for which the operator wrote some.
struct Chosen {
    texts: Arc<Texts>,
    /// Empty for everybody's.
    channel: String,
    /// All that there is to choose from.
    channels: Vec<LegName>,
}

impl Chosen {
    fn read(app: &App, raw: Option<&str>) -> Result<Self, PageError> {
        let has_own = |name: &LegName| !Arc::ptr_eq(&app.texts.of_channel(name), &app.texts);
        let names = app.routes.legs().map(|(name, _)| name.clone());
        let channels: Vec<LegName> = names.filter(has_own).collect();
        let Some(asked) = asked(raw, "channel") else {
            return Ok(Self {
                texts: Arc::clone(&app.texts),
                channel: String::new(),
                channels,
            });
        };
        let name = channels.iter().find(|name| name.as_str() == asked);
        let name = name.ok_or(PageError::NotFound("channel with texts of its own"))?;
        Ok(Self {
            texts: app.texts.of_channel(name),
            channel: asked,
            channels,
        })
    }

    fn language(&self, tag: &str) -> Result<&Language, PageError> {
        let languages = self.texts.languages().iter();
        let found = languages
            .map(|language| &**language)
            .find(|language| language.tag().to_string() == tag);
        found.ok_or(PageError::NotFound("language"))
    }

    /// Links to each language and to all of them; `here` is the tag of the one that is shown.
    fn languages(&self, here: &str) -> Vec<Choice> {
        let choice = |label: &str, tag: &str| Choice {
            label: label.to_owned(),
            tag: Some(tag.to_owned()).filter(|tag| !tag.is_empty()),
            link: link_to(tag, &self.channel),
            chosen: tag == here,
        };
        let all = choice("All", "");
        let each = self.texts.languages().iter().map(|language| {
            let tag = language.tag().to_string();
            choice(view::own_name(&tag), &tag)
        });
        std::iter::once(all).chain(each).collect()
    }

    /// Links to the texts of channels; none where no channel has its own.
    fn channels(&self, here: &str) -> Vec<Choice> {
        if self.channels.is_empty() {
            return Vec::new();
        }
        let choice = |label: &str, channel: &str| Choice {
            label: label.to_owned(),
            tag: None,
            link: link_to(here, channel),
            chosen: channel == self.channel,
        };
        let everybodys = choice("All channels", "");
        let each = self.channels.iter().map(|name| choice(name.as_str(), name.as_str()));
        std::iter::once(everybodys).chain(each).collect()
    }
}

/// The page of a language, or of all where the tag is empty.
fn link_to(tag: &str, channel: &str) -> String {
    let path = if tag.is_empty() {
        PATH.to_owned()
    } else {
        format!("{PATH}/{tag}")
    };
    link(&path, &[("channel", channel)])
}

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route(PATH, get(all))
        .route("/operator/texts/{tag}", get(one))
        .route("/operator/texts/{tag}/email/{which}", get(email))
}

async fn all(
    State(app): State<Arc<App>>,
    viewer: OperatorViewer,
    RawQuery(raw): RawQuery,
) -> Result<Response, PageError> {
    let chosen = Chosen::read(&app, raw.as_deref())?;
    let sample = sample(&app).ok_or(PageError::Internal)?;
    let languages = chosen.texts.languages();
    page::html(&AllPage {
        frame: Frame::console(&app, &viewer, "Texts", PATH),
        languages: chosen.languages(""),
        channels: chosen.channels(""),
        names: languages.iter().map(|language| Named::of(language)).collect(),
        lengths: view::lengths(languages, &sample),
        glances: languages
            .iter()
            .map(|language| Glance::new(language, &sample, link_to(&language.tag().to_string(), &chosen.channel)))
            .collect(),
    })
}

async fn one(
    State(app): State<Arc<App>>,
    Path(tag): Path<String>,
    viewer: OperatorViewer,
    RawQuery(raw): RawQuery,
) -> Result<Response, PageError> {
    let chosen = Chosen::read(&app, raw.as_deref())?;
    let sample = sample(&app).ok_or(PageError::Internal)?;
    let language = chosen.language(&tag)?;
    let email_path = |which: usize| {
        let path = format!("{PATH}/{tag}/email/{}", EMAILS.get(which).copied().unwrap_or_default());
        link(&path, &[("channel", &chosen.channel)])
    };
    let named = Named::of(language);
    let mut response = page::html(&LanguagePage {
        frame: Frame::console(&app, &viewer, &format!("Texts: {}", named.name), PATH),
        languages: chosen.languages(&tag),
        channels: chosen.channels(&tag),
        full: InFull::new(language, &sample, email_path),
        named,
    })?;
    response.extensions_mut().insert(Framing::Frames);
    Ok(response)
}

/// An e-mail's HTML, as it is sent, for the frame in which it is shown.
async fn email(
    State(app): State<Arc<App>>,
    Path((tag, which)): Path<(String, String)>,
    _viewer: OperatorViewer,
    RawQuery(raw): RawQuery,
) -> Result<Response, PageError> {
    let chosen = Chosen::read(&app, raw.as_deref())?;
    let sample = sample(&app).ok_or(PageError::Internal)?;
    let language = chosen.language(&tag)?;
    let which = EMAILS.iter().position(|name| *name == which);
    let shown = which.and_then(|which| preview::email(language, &sample).into_iter().nth(which));
    let Some(Seen::Email(composed)) = shown.map(|shown| shown.seen) else {
        return Err(PageError::NotFound("e-mail"));
    };
    let mut response = Response::new(Body::from(composed.html));
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, html);
    response.extensions_mut().insert(Framing::Framed);
    Ok(response)
}
