//! `/account/senders`: the names that recipients see, how they look, and the way to the verified mark.

use std::sync::Arc;

use askama::Template;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use countersign_core::{AccountId, Limit, SenderUsername};
use countersign_store::{Actor, MAX_SENDERS, PictureChange, SenderDetail, SenderLook, StoreError, Verification};

use crate::app::App;
use crate::pace::Pace;
use crate::senders::{SenderFace, look, picture, standing};
use crate::site::form::{Form, Upload};
use crate::site::format::When;
use crate::site::frame::Frame;
use crate::site::page::{self, PageError};
use crate::site::state::Badge;
use crate::site::viewer::Viewer;

const PATH: &str = "/account/senders";
/// Changes of one account: each is a sync of the disk and a line in the audit log.
const CHANGES: Limit = Limit {
    count: 30,
    period_ms: 60_000,
};

const DONE: [(&str, &str); 4] = [
    (
        "registered",
        "The sender was registered. Ask for its verification: then you can send by it.",
    ),
    ("saved", "The sender’s look was saved."),
    (
        "requested",
        "The verification was requested. The operator’s answer appears here.",
    ),
    ("deleted", "The sender was deleted. Anybody can register its name now."),
];

/// A sender in the list.
struct Row {
    username: String,
    face: SenderFace,
    badge: Badge,
    created: When,
}

/// What was typed into the form of a sender's look.
#[derive(Debug, Clone, Default)]
struct Typed {
    username: String,
    display_name: String,
    colour: String,
    support_url: String,
    note: String,
}

/// What is wrong, beside its field.
#[derive(Debug, Clone, Default)]
struct Problems {
    username: Option<String>,
    display_name: Option<String>,
    colour: Option<String>,
    picture: Option<String>,
    support_url: Option<String>,
    note: Option<String>,
}

impl Problems {
    const fn any(&self) -> bool {
        self.username.is_some()
            || self.display_name.is_some()
            || self.colour.is_some()
            || self.picture.is_some()
            || self.support_url.is_some()
            || self.note.is_some()
    }

    const fn status(&self) -> StatusCode {
        if self.any() {
            StatusCode::UNPROCESSABLE_ENTITY
        } else {
            StatusCode::OK
        }
    }
}

#[derive(Template)]
#[template(path = "senders.html")]
struct SendersPage {
    frame: Frame,
    rows: Vec<Row>,
    full: bool,
    typed: Typed,
    problems: Problems,
    palette: &'static [(&'static str, &'static str)],
}

#[derive(Template)]
#[template(path = "sender.html")]
struct SenderPage {
    frame: Frame,
    username: String,
    face: SenderFace,
    badge: Badge,
    /// Since when it is as it is.
    since: Option<When>,
    /// Why it was refused.
    refusal: String,
    is_verified: bool,
    is_requested: bool,
    typed: Typed,
    problems: Problems,
    palette: &'static [(&'static str, &'static str)],
}

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route(PATH, get(senders).post(register))
        .route("/account/senders/{username}", get(sender).post(save))
        .route("/account/senders/{username}/request", post(request))
        .route("/account/senders/{username}/delete", post(delete))
        .layer(Extension(Arc::new(Pace::<AccountId>::new(CHANGES))))
}

async fn senders(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    list(&app, &viewer, query.as_deref(), Typed::default(), Problems::default()).await
}

async fn list(
    app: &App,
    viewer: &Viewer,
    query: Option<&str>,
    typed: Typed,
    problems: Problems,
) -> Result<Response, PageError> {
    let found = app.site.senders_of(viewer.account.key, MAX_SENDERS).await?;
    let row = |sender: &SenderDetail| Row {
        username: sender.profile.username.as_str().to_owned(),
        face: SenderFace::of(sender),
        badge: standing(&sender.verification),
        created: When::new(sender.profile.created_at, viewer.now, &viewer.zone),
    };
    let status = problems.status();
    let page = SendersPage {
        frame: Frame::portal(app, viewer, "Senders", PATH).with_done(query, &DONE),
        rows: found.iter().map(row).collect(),
        full: found.len() >= MAX_SENDERS,
        typed,
        problems,
        palette: &look::PALETTE,
    };
    page::html_with(status, &page)
}

async fn sender(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Path(username): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    let sender = own(&app, &viewer, &username).await?;
    one(&app, &viewer, &sender, query.as_deref(), None, Problems::default())
}

/// The viewer's sender of that name.
async fn own(app: &App, viewer: &Viewer, username: &str) -> Result<SenderDetail, PageError> {
    let username = SenderUsername::parse(username).ok_or(PageError::NotFound("sender"))?;
    let found = app.site.sender_detail(&username).await?;
    found
        .filter(|sender| sender.profile.account == viewer.account.key)
        .map(Arc::unwrap_or_clone)
        .ok_or(PageError::NotFound("sender"))
}

fn one(
    app: &App,
    viewer: &Viewer,
    sender: &SenderDetail,
    query: Option<&str>,
    typed: Option<Typed>,
    problems: Problems,
) -> Result<Response, PageError> {
    let (since, refusal) = match &sender.verification {
        Verification::None => (None, ""),
        Verification::Requested { at, .. } | Verification::Verified { at } => (Some(*at), ""),
        Verification::Refused { at, reason } => (Some(*at), reason.as_str()),
    };
    let status = problems.status();
    let page = SenderPage {
        frame: Frame::portal(app, viewer, &sender.profile.username.to_string(), PATH).with_done(query, &DONE),
        username: sender.profile.username.as_str().to_owned(),
        face: SenderFace::of(sender),
        badge: standing(&sender.verification),
        since: since.map(|at| When::new(at, viewer.now, &viewer.zone)),
        refusal: refusal.to_owned(),
        is_verified: matches!(sender.verification, Verification::Verified { .. }),
        is_requested: matches!(sender.verification, Verification::Requested { .. }),
        typed: typed.unwrap_or_else(|| Typed {
            username: String::new(),
            display_name: sender.look.display_name.clone(),
            colour: sender.look.colour.clone(),
            support_url: sender.look.support_url.clone(),
            note: String::new(),
        }),
        problems,
        palette: &look::PALETTE,
    };
    page::html_with(status, &page)
}

/// What was typed, what is wrong with it, and the look where nothing is.
fn read(form: &Form, file: Option<Vec<u8>>) -> (Typed, Problems, Option<(SenderLook, PictureChange)>) {
    // A colour of one's own counts before one of the palette.
    let own = form.text("own_colour");
    let typed = Typed {
        username: form.text("username").to_owned(),
        display_name: form.text("display_name").to_owned(),
        colour: if own.is_empty() { form.text("colour") } else { own }.to_owned(),
        support_url: form.text("support_url").to_owned(),
        note: String::new(),
    };
    let display_name = look::display_name(&typed.display_name);
    let colour = look::colour(&typed.colour);
    let support_url = look::support_url(&typed.support_url);
    let picture = match file {
        Some(file) => picture::check(file).map(PictureChange::Set),
        None if form.ticked("no_picture") => Ok(PictureChange::Remove),
        None => Ok(PictureChange::Keep),
    };
    match (display_name, colour, support_url, picture) {
        (Ok(display_name), Ok(colour), Ok(support_url), Ok(picture)) => {
            let look = SenderLook {
                display_name,
                colour,
                support_url,
            };
            (typed, Problems::default(), Some((look, picture)))
        }
        (display_name, colour, support_url, picture) => {
            let problems = Problems {
                display_name: display_name.err(),
                colour: colour.err(),
                support_url: support_url.err(),
                picture: picture.err(),
                ..Problems::default()
            };
            (typed, problems, None)
        }
    }
}

fn take(changes: &Pace, viewer: &Viewer) -> Result<(), PageError> {
    let taken = changes.take(viewer.account.key.id, viewer.now);
    taken.map_err(|seconds| PageError::TooMany { seconds })
}

async fn register(
    State(app): State<Arc<App>>,
    Extension(changes): Extension<Arc<Pace>>,
    viewer: Viewer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PageError> {
    let Upload { form, file } = Upload::read(&headers, body, &viewer.csrf).await?;
    take(&changes, &viewer)?;
    let (typed, mut problems, look) = read(&form, file);
    let username = SenderUsername::parse(&typed.username);
    if username.is_none() {
        problems.username = Some("A username has 5 to 32 of a-z, 0-9 and _, a letter first.".to_owned());
    }
    let (Some(username), Some((look, picture))) = (username, look) else {
        return list(&app, &viewer, None, typed, problems).await;
    };
    let made = app
        .site
        .register_sender(
            viewer.account.key,
            username.clone(),
            look,
            picture,
            viewer.now,
            Actor::Owner,
        )
        .await;
    match made {
        Ok(()) => Ok(page::see_other(&format!(
            "{PATH}/{}?done=registered",
            username.as_str()
        ))),
        Err(StoreError::Conflict(_)) => {
            problems.username = Some("This username is taken: choose another.".to_owned());
            list(&app, &viewer, None, typed, problems).await
        }
        Err(StoreError::TooMany(_)) => {
            problems.username = Some(format!(
                "An account has at most {MAX_SENDERS} senders: delete one first."
            ));
            list(&app, &viewer, None, typed, problems).await
        }
        Err(error) => Err(error.into()),
    }
}

async fn save(
    State(app): State<Arc<App>>,
    Extension(changes): Extension<Arc<Pace>>,
    viewer: Viewer,
    Path(username): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PageError> {
    let Upload { form, file } = Upload::read(&headers, body, &viewer.csrf).await?;
    take(&changes, &viewer)?;
    let sender = own(&app, &viewer, &username).await?;
    let (typed, problems, look) = read(&form, file);
    let Some((look, picture)) = look else {
        return one(&app, &viewer, &sender, None, Some(typed), problems);
    };
    let name = sender.profile.username;
    app.site
        .set_sender_look(
            viewer.account.key,
            name.clone(),
            look,
            picture,
            viewer.now,
            Actor::Owner,
        )
        .await?;
    Ok(page::see_other(&format!("{PATH}/{}?done=saved", name.as_str())))
}

async fn request(
    State(app): State<Arc<App>>,
    Extension(changes): Extension<Arc<Pace>>,
    viewer: Viewer,
    Path(username): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PageError> {
    let form = Form::read(&headers, body, &viewer.csrf).await?;
    take(&changes, &viewer)?;
    let sender = own(&app, &viewer, &username).await?;
    let note = form.text("note");
    if note.chars().count() > look::MAX_NOTE_CHARS
        || note
            .chars()
            .any(|letter| letter.is_control() && letter != '\n' && letter != '\r')
    {
        let problems = Problems {
            note: Some(format!("Say it in at most {} characters.", look::MAX_NOTE_CHARS)),
            ..Problems::default()
        };
        let typed = Typed {
            display_name: sender.look.display_name.clone(),
            colour: sender.look.colour.clone(),
            support_url: sender.look.support_url.clone(),
            note: note.to_owned(),
            username: String::new(),
        };
        return one(&app, &viewer, &sender, None, Some(typed), problems);
    }
    let name = sender.profile.username;
    app.site
        .request_verification(
            viewer.account.key,
            name.clone(),
            note.to_owned(),
            viewer.now,
            Actor::Owner,
        )
        .await?;
    Ok(page::see_other(&format!("{PATH}/{}?done=requested", name.as_str())))
}

async fn delete(
    State(app): State<Arc<App>>,
    Extension(changes): Extension<Arc<Pace>>,
    viewer: Viewer,
    Path(username): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PageError> {
    Form::read(&headers, body, &viewer.csrf).await?;
    take(&changes, &viewer)?;
    let sender = own(&app, &viewer, &username).await?;
    app.site
        .delete_sender(viewer.account.key, sender.profile.username, viewer.now, Actor::Owner)
        .await?;
    Ok(page::see_other(&format!("{PATH}?done=deleted")))
}
