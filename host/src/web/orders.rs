//! What people do about data dates, by the forms of the page and by the API: look again, acknowledge, give up.

use std::{fmt, time::Duration};

use axum::{
    Form, Json,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use jiff::civil::Date;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::json;

use super::{
    Site,
    api::{API, Refused, parsed, refused, unknown, unreadable},
    caller::who,
    forms::{PAGE, to},
    layout,
};
use crate::{
    alert::{ACKNOWLEDGED_FOR, LONGEST_REASON, Wanted},
    config::Time,
    recorder::Done,
    run::{Moment, When},
    text::encoded,
};

/// How long to wait until an order is carried out. A record that cannot be written at the moment is tried again.
const PATIENCE: Duration = Duration::from_secs(30);
/// The word in place of a date.
const OPEN: &str = "open";

/// Which dates of a check an order is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// One date.
    Date(Date),
    /// All that are open; for a check about now, its incident.
    Open,
}

impl Place {
    /// That of the open dates of a check.
    pub(super) fn of(dates: &[Date]) -> Self {
        match dates {
            [date] => Self::Date(*date),
            _ => Self::Open,
        }
    }

    fn date(self) -> Option<Date> {
        match self {
            Self::Date(date) => Some(date),
            Self::Open => None,
        }
    }

    fn parse(text: &str) -> Result<Self, Refused> {
        match text {
            OPEN => Ok(Self::Open),
            text => text.parse().map(Self::Date).map_err(|_| {
                let wrong = format!("`{text}` is not a date; write it like 2026-02-05, or `{OPEN}` for all open dates");
                refused(StatusCode::BAD_REQUEST, wrong)
            }),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Date(date) => write!(to, "{date}"),
            Self::Open => to.write_str(OPEN),
        }
    }
}

/// What comes with an order.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Given {
    why: String,
    /// How long an acknowledgement holds.
    #[serde(rename = "for")]
    length: String,
}

impl Given {
    fn wanted(&self, deed: &str) -> Result<Wanted, Refused> {
        let wrong = |text: String| refused(StatusCode::BAD_REQUEST, text);
        let why = || {
            let why = self.why.split_whitespace().collect::<Vec<_>>().join(" ");
            match why.chars().count() {
                0 => Err(wrong("why: give a reason, for others to read".to_owned())),
                1..=LONGEST_REASON => Ok(why),
                long => Err(wrong(format!("why: {long} characters; write at most {LONGEST_REASON}"))),
            }
        };
        match deed {
            "recheck" => Ok(Wanted::Recheck),
            "close" => Ok(Wanted::Close { why: why()?, all: false }),
            "ack" => {
                let length = if self.length.trim().is_empty() { ACKNOWLEDGED_FOR } else { self.length.trim() };
                let length: Time = length.parse().map_err(|error| wrong(format!("for: {error}")))?;
                let until = crate::record::now()
                    .checked_add(length.0)
                    .map_err(|_| wrong("for: that is too long".to_owned()))?;
                Ok(Wanted::Ack { why: why()?, until })
            }
            other => {
                Err(refused(StatusCode::NOT_FOUND, format!("there is no order `{other}`; write recheck, ack or close")))
            }
        }
    }
}

/// The check, which of its dates, and what is to be done.
type Asked = Path<(String, String, String)>;

/// Carries out an order of a form, and leads back to the page that says what came of it.
pub(super) async fn posted(State(site): State<Site>, path: Asked, headers: HeaderMap, given: Form<Given>) -> Response {
    let Path((name, place, deed)) = path;
    match carry_out(&site, &name, &place, &deed, &given, &who(&headers, PAGE)).await {
        Ok((Place::Date(date), done)) => {
            to(&site, &format!("/checks/{}/dates/{date}?order={}", encoded(&name), done.id))
        }
        Ok((Place::Open, done)) => to(&site, &format!("/checks/{}?order={}#dates", encoded(&name), done.id)),
        Err(refused) => layout::problem(&site, refused.status, &refused.error).await,
    }
}

/// Carries out an order of a program.
pub(super) async fn api(State(site): State<Site>, path: Asked, headers: HeaderMap, body: Bytes) -> Response {
    let Path((name, place, deed)) = path;
    let done = match parsed(&body) {
        Ok(given) => carry_out(&site, &name, &place, &deed, &given, &who(&headers, API)).await,
        Err(refused) => Err(refused),
    };
    match done.map(|(_, done)| done.answer) {
        Ok(Ok(answer)) => Json(json!({ "answer": answer })).into_response(),
        Ok(Err(why)) => refused(StatusCode::CONFLICT, why).into_response(),
        Err(refused) => refused.into_response(),
    }
}

async fn carry_out(
    site: &Site,
    name: &str,
    place: &str,
    deed: &str,
    given: &Given,
    who: &str,
) -> Result<(Place, Done), Refused> {
    let host = site.host();
    let check = host.check(name).cloned().ok_or_else(|| unknown(&host, name))?;
    let place = Place::parse(place)?;
    let wanted = given.wanted(deed)?;
    if let Some(date) = place.date() {
        let wrong = |text: String| refused(StatusCode::BAD_REQUEST, text);
        if host.recorder.board.of(name).seen.is_about_now(&check) {
            return Err(wrong(format!("{name} is about now, and has no dates; write `{OPEN}` in place of the date")));
        }
        let when = When { date: Some(date), ..When::default() };
        Moment::of(&check, &host.config, crate::record::now(), when).map_err(|error| wrong(format!("{error:#}")))?;
    }
    let (name, who) = (name.to_owned(), who.to_owned());
    // A task of its own: a client that goes away must not leave it half done.
    let order =
        tokio::spawn(async move { host.recorder.order(&host.config, &name, place.date(), &wanted, &who).await });
    match tokio::time::timeout(PATIENCE, order).await {
        Ok(Ok(Ok(done))) => Ok((place, done)),
        Ok(Ok(Err(error))) => Err(unreadable(&error)),
        Ok(Err(error)) => {
            tracing::error!("an order cannot be carried out: {error}");
            Err(refused(StatusCode::INTERNAL_SERVER_ERROR, "the order cannot be carried out; the log says why"))
        }
        Err(_) => {
            let text = format!(
                "not carried out within {PATIENCE:?}: the record cannot be written; it is carried out when it can"
            );
            Err(refused(StatusCode::SERVICE_UNAVAILABLE, text))
        }
    }
}

/// The form that looks again at some dates of a check.
pub(super) fn look_again(check: &str, place: Place) -> Markup {
    form(check, place, "recheck", "Look again", &html! { input type="hidden" name="why" value=""; })
}

/// The form that says that somebody works on some dates of a check.
pub(super) fn acknowledge(check: &str, place: Place) -> Markup {
    let fields = html! {
        label { "For " input name="for" value=(ACKNOWLEDGED_FOR) size="5" required maxlength="20" autocomplete="off"; }
        label { " because " input name="why" required maxlength=(LONGEST_REASON) autocomplete="off"; }
    };
    form(check, place, "ack", "Acknowledge", &fields)
}

/// The form that gives a date up.
pub(super) fn give_up(check: &str, place: Place) -> Markup {
    let fields =
        html! { label { "Because " input name="why" required maxlength=(LONGEST_REASON) autocomplete="off"; } };
    form(check, place, "close", "Give up", &fields)
}

fn form(check: &str, place: Place, order: &str, words: &str, fields: &Markup) -> Markup {
    let date = place.date().map(|date| format!(" {date}")).unwrap_or_default();
    html! {
        form.silence method="post" action={ "/checks/" (encoded(check)) "/dates/" (place) "/" (order) } {
            (fields)
            button { (words) span.hidden { " at " (check) (date) } }
        }
    }
}
