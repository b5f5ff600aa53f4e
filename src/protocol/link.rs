//! Links: a connectoid inside an app's URL.

use url::Url;

use super::{Connectoid, NotAConnectoid};

/// Where in an app's URL the connectoid stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// `#connectoid=…`: browsers never send it, so neither the app's web server nor its logs see it.
    Fragment,
    /// `?connectoid=…`: the original form; the app's web server sees it.
    Query,
}

/// A connectoid and where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundLink {
    /// The connectoid.
    pub connectoid: Connectoid,
    /// Where it stood; `None` for a bare connectoid without a URL around it.
    pub place: Option<Place>,
}

/// Why a text is not a link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotALink {
    /// A URL without a connectoid.
    #[error("there is no connectoid=… in this URL: was the link cut?")]
    NoConnectoid,
    /// A connectoid that is not one.
    #[error("not a connectoid: {0}")]
    Connectoid(#[from] NotAConnectoid),
    /// The app's URL is not one.
    #[error("{0:?} is not the URL of an app: expected one like https://app.example.com/")]
    App(String),
    /// Secrets do not go into queries.
    #[error("a link with a secret carries it in the fragment: make one without a secret for the query form")]
    SecretInQuery,
}

const NAME: &str = "connectoid=";

/// Finds the connectoid in a link (`https://app.example.com/#connectoid=…`, `…?connectoid=…`) or takes a bare one.
///
/// The fragment wins over the query. In fragments that the app uses for routes it may follow `?`, `&`, `/`, `#`, `;`
/// or `!`.
pub fn find_connectoid(text: &str) -> Result<FoundLink, NotALink> {
    let text = text.trim();
    if !text.contains("://") {
        let value = text.strip_prefix(NAME).unwrap_or(text);
        return Ok(FoundLink { connectoid: value.parse()?, place: None });
    }
    let (before, fragment) = text.split_once('#').unwrap_or((text, ""));
    let query = before.split_once('?').map_or("", |(_, query)| query);
    let (value, place) = match (parameter(fragment), parameter(query)) {
        (Some(value), _) => (value, Place::Fragment),
        (None, Some(value)) => (value, Place::Query),
        (None, None) => return Err(NotALink::NoConnectoid),
    };
    Ok(FoundLink { connectoid: value.parse()?, place: Some(place) })
}

/// The value of `connectoid=` in a query or fragment, up to the next `&`.
fn parameter(text: &str) -> Option<&str> {
    let (at, _) = text
        .match_indices(NAME)
        .find(|(at, _)| text[..*at].is_empty() || text[..*at].ends_with(['?', '&', '/', '#', ';', '!']))?;
    text[at + NAME.len()..].split('&').next()
}

/// The link to share: the app's URL with the connectoid in its fragment or its query.
///
/// A fragment that the app uses for a route stays: `#/lists` becomes `#/lists?connectoid=…`.
///
/// # Errors
/// If `app` is not an absolute URL, or if a secret would stand in a query.
pub fn make_link(app: &str, connectoid: &Connectoid, place: Place) -> Result<String, NotALink> {
    let mut url = Url::parse(app).map_err(|_| NotALink::App(app.to_owned()))?;
    if url.cannot_be_a_base() {
        return Err(NotALink::App(app.to_owned()));
    }
    let parameter = format!("{NAME}{connectoid}");
    match place {
        Place::Fragment => {
            let fragment = match url.fragment() {
                None | Some("") => parameter,
                Some(route) if route.contains(['?', '=']) => format!("{route}&{parameter}"),
                Some(route) => format!("{route}?{parameter}"),
            };
            url.set_fragment(Some(&fragment));
        }
        Place::Query if connectoid.secret.is_some() => return Err(NotALink::SecretInQuery),
        Place::Query => {
            let query = match url.query() {
                None | Some("") => parameter,
                Some(query) => format!("{query}&{parameter}"),
            };
            url.set_query(Some(&query));
        }
    }
    Ok(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: &str =
        "A3cF4dUliud11gULRbSbiyThJ8-nj--k8m_lctINRixWu9LVtRFfqKsa6XU9Q6j0hw.aHR0cHM6Ly9jb25uZWN0by5pZA";
    const FULL: &str = "A3cF4dUliud11gULRbSbiyThJ8-nj--k8m_lctINRixWu9LVtRFfqKsa6XU9Q6j0hw.aHR0cHM6Ly9jb25uZWN0by5pZA..AQcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH";

    #[test]
    fn made_and_found_again() {
        let (short, full): (Connectoid, Connectoid) = (SHORT.parse().unwrap(), FULL.parse().unwrap());
        for (app, connectoid, place, link) in [
            (
                "https://app.example.com/",
                &full,
                Place::Fragment,
                format!("https://app.example.com/#connectoid={FULL}"),
            ),
            (
                "https://app.example.com",
                &full,
                Place::Fragment,
                format!("https://app.example.com/#connectoid={FULL}"),
            ),
            (
                "https://a.example/x?y=1#/lists",
                &full,
                Place::Fragment,
                format!("https://a.example/x?y=1#/lists?connectoid={FULL}"),
            ),
            (
                "https://a.example/#/l?id=1",
                &full,
                Place::Fragment,
                format!("https://a.example/#/l?id=1&connectoid={FULL}"),
            ),
            ("https://a.example/", &short, Place::Query, format!("https://a.example/?connectoid={SHORT}")),
            (
                "https://a.example/?y=1#top",
                &short,
                Place::Query,
                format!("https://a.example/?y=1&connectoid={SHORT}#top"),
            ),
        ] {
            let made = make_link(app, connectoid, place).unwrap();
            assert_eq!(made, link);
            assert_eq!(
                find_connectoid(&made),
                Ok(FoundLink { connectoid: connectoid.clone(), place: Some(place) })
            );
        }
        assert_eq!(make_link("https://a.example/", &full, Place::Query), Err(NotALink::SecretInQuery));
        assert!(matches!(make_link("app.example.com", &short, Place::Query), Err(NotALink::App(_))));
        assert!(matches!(make_link("mailto:a@example.com", &short, Place::Query), Err(NotALink::App(_))));
    }

    #[test]
    fn found_where_people_put_it() {
        let full: Connectoid = FULL.parse().unwrap();
        for (text, place) in [
            (FULL.to_owned(), None),
            (format!(" connectoid={FULL}\n"), None),
            (format!("https://a.example/?connectoid={SHORT}#connectoid={FULL}"), Some(Place::Fragment)),
            (format!("https://a.example/?connectoid={FULL}"), Some(Place::Query)),
            (format!("https://a.example/#/route/connectoid={FULL}&x=1"), Some(Place::Fragment)),
            (format!("https://a.example/#!connectoid={FULL}"), Some(Place::Fragment)),
        ] {
            assert_eq!(find_connectoid(&text), Ok(FoundLink { connectoid: full.clone(), place }), "{text}");
        }
        assert_eq!(find_connectoid("https://a.example/"), Err(NotALink::NoConnectoid));
        assert_eq!(
            find_connectoid(&format!("https://a.example/?myconnectoid={FULL}")),
            Err(NotALink::NoConnectoid)
        );
        assert!(matches!(find_connectoid("hello"), Err(NotALink::Connectoid(NotAConnectoid::Parts(1)))));
    }
}
