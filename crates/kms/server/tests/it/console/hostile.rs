//! What others send, and what they have a browser send.

use http::Request;
use serde_json::json;

use super::{Browser, KEY, RING, html_escaped};
use crate::api::Server;

const PROJECT: &str = "/console/projects/key-project";

#[tokio::test]
async fn every_answer_forbids_a_browser_to_run_frame_or_guess_anything() {
    let server = Server::with_key().await;
    let mut browser = Browser::of(&server, server.admin()).await;
    let mut stranger = Browser::new(&server);
    let assets = browser.get("/console").await.html;
    let asset = assets.split('"').find(|it| it.ends_with("console.js")).expect("a script").to_owned();
    for path in ["/", "/console", KEY, "/console/nothing", "/console/login", asset.as_str()] {
        for page in [browser.get(path).await, stranger.get(path).await, stranger.post(path, &[]).await] {
            let header = |name: &str| page.headers.get(name).map(|it| it.to_str().expect("text"));
            let policy = header("content-security-policy").expect("a policy");
            for part in
                ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"]
            {
                assert!(policy.contains(part), "{path}: {policy}");
            }
            assert!(!policy.contains("unsafe"), "{policy}");
            assert_eq!(header("x-content-type-options"), Some("nosniff"), "{path}");
            assert_eq!(header("x-frame-options"), Some("DENY"), "{path}");
            for inline in [" style=", "<style", " onclick", "javascript:"] {
                assert!(!page.html.contains(inline) || path.ends_with(".js"), "{path} has {inline}");
            }
            let scripts = page.html.matches("<script").count();
            assert_eq!(scripts, page.html.matches(r#"<script src="/console/assets/"#).count(), "{path}");
        }
    }
}

#[tokio::test]
async fn no_form_is_taken_that_no_page_of_the_session_has_sent() {
    let server = Server::with_key().await;
    let mut browser = Browser::of(&server, server.admin()).await;
    let mut other = Browser::of(&server, server.admin()).await;
    let foreign = other.get(KEY).await.form_token();
    let own = browser.get(KEY).await.form_token();
    assert_ne!(own, foreign);
    let primary = async || server.get(&format!("/v1{}", &KEY[8..])).await.ok()["primary"]["name"].clone();
    let before = primary().await;
    let rotate = format!("{KEY}/rotate");
    let longer = format!("{own}0");
    let actions = [
        rotate.clone(),
        format!("{KEY}/1/disable"),
        format!("{KEY}/1/destroy"),
        format!("{KEY}/members"),
        format!("{RING}/cryptoKeys"),
        format!("{RING}/members"),
        format!("{PROJECT}/services"),
        format!("{PROJECT}/keyRings"),
        format!("{PROJECT}/clusters"),
        "/console/projects".to_owned(),
        "/console/logout".to_owned(),
    ];
    for token in ["", "0", &foreign, &own[1..], &longer, &own.to_uppercase()] {
        for action in &actions {
            let fields =
                [("form-token", token), ("name", "key-9"), ("id", "project-9"), ("token", server.admin())];
            let refused = browser.post(action, &fields).await;
            assert_eq!(refused.status, 403, "{action} with {token}: {}", refused.html);
        }
    }
    // With the right token, from another site's page.
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
    ] {
        let request = Request::post(&rotate).header(name, value);
        let refused = browser.send(request, format!("form-token={own}")).await;
        assert_eq!(refused.status, 403, "{name}: {value}");
        let request = Request::post("/console/login").header(name, value);
        let refused = Browser::new(&server).send(request, format!("token={}", server.admin())).await;
        assert_eq!((refused.status, refused.headers.contains_key("set-cookie")), (403, false));
    }
    // As a link, which needs no token.
    for action in &actions {
        browser.get(&format!("{action}?form-token={own}")).await;
    }
    assert_eq!(primary().await, before);
    assert_eq!(browser.post(&rotate, &[("form-token", &own)]).await.status, 303, "the right one is taken");
    assert_ne!(primary().await, before);
}

#[tokio::test]
async fn a_session_is_never_the_one_that_somebody_else_has_set() {
    let server = Server::new().await;
    let mut browser = Browser::new(&server);
    let chosen = "kss_dXNlcjphQGIuYw_0123456789abcdef_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    browser.cookies.insert("__Host-keystead-session".to_owned(), chosen.to_owned());
    let page = browser.get("/console").await;
    assert_eq!(page.status, 303);
    assert!(page.headers["set-cookie"].to_str().expect("text").contains("Max-Age=0"), "it is taken away");
    let login = browser.post("/console/login", &[("token", server.admin())]).await;
    let cookie = login.headers["set-cookie"].to_str().expect("text");
    assert!(!cookie.contains(chosen));
    for attribute in ["__Host-", "; Path=/;", "; Secure", "; HttpOnly", "; SameSite=Lax"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(!cookie.contains("Domain"), "{cookie}");
    let first = browser.cookies.clone();
    browser.post("/console/login", &[("token", server.admin())]).await;
    assert_eq!(
        browser.cookies, first,
        "who is logged in and logs in again keeps the session, for want of a form's token"
    );
}

#[tokio::test]
async fn a_cookie_opens_nothing_but_the_console() {
    let server = Server::with_key().await;
    let mut browser = Browser::of(&server, server.admin()).await;
    for path in [format!("/v1{}", &KEY[8..]), "/keystead/v1/tokens".to_owned(), "/v1/projects".to_owned()] {
        assert_eq!(browser.get(&path).await.status, 401, "{path}");
    }
    let request = Request::post("/keystead/v1/tokens").header("content-type", "application/json");
    let refused = browser.send(request, json!({ "principal": "user:a@example.com" }).to_string()).await;
    assert_eq!(refused.status, 401);
}

#[tokio::test]
async fn no_redirection_leads_elsewhere() {
    let server = Server::new().await;
    for back in [
        "//evil.example",
        "https://evil.example/console",
        "/\\evil.example",
        "/console\\@evil.example",
        "/console/../..//evil.example\r\nX: y",
        "javascript:alert(1)",
        "%2f%2fevil.example",
        "/consolevil",
        "\u{0}/console",
    ] {
        let mut browser = Browser::new(&server);
        let login = browser.post("/console/login", &[("token", server.admin()), ("back", back)]).await;
        let encoded: String = form_urlencoded::byte_serialize(back.as_bytes()).collect();
        let again = browser.get(&format!("/console/login?back={encoded}")).await;
        let language = browser.get(&format!("/console/language/ko?back={encoded}")).await;
        for page in [login, again, language] {
            assert_eq!((page.status, page.location()), (303, "/console"), "{back}");
        }
    }
}

/// Each would run, break out of where it stands, or end a header, if a page let it.
fn payloads() -> Vec<String> {
    let mut all: Vec<String> = [
        "<script>alert(1)</script>",
        "</title><script>alert(1)</script>",
        "</textarea><script>alert(1)</script>",
        "</option></select><img src=x onerror=alert(1)>",
        "\"><svg onload=alert(1)>",
        "'><svg onload=alert(1)>",
        "\" autofocus onfocus=alert(1) x=\"",
        "' autofocus onfocus='alert(1)",
        "javascript:alert(1)",
        "<img src=x onerror=alert(1)>",
        "<iframe srcdoc='<script>alert(1)</script>'>",
        "<a href=javascript:alert(1)>x</a>",
        "<math><mi xlink:href=javascript:alert(1)>",
        "<body onload=alert(1)>",
        "<details open ontoggle=alert(1)>",
        "{{7*7}}",
        "{% if true %}x{% endif %}",
        "${7*7}",
        "&lt;script&gt;",
        "&#60;script&#62;",
        "\u{202e}gnp.exe",
        "\u{0}<script>",
        "<scr\u{0}ipt>alert(1)</scr\u{0}ipt>",
        "＜script＞alert(1)＜/script＞",
        "%3Cscript%3Ealert(1)%3C/script%3E",
        "a\r\nSet-Cookie: evil=1",
        "a\nX-Evil: 1",
        "-->\n<script>alert(1)</script>",
        "]]><script>alert(1)</script>",
        "<base href=https://evil.example/>",
        "<form action=https://evil.example>",
        "<meta http-equiv=refresh content=0;url=https://evil.example>",
        "<link rel=stylesheet href=https://evil.example>",
        "<style>*{background:url(https://evil.example)}</style>",
    ]
    .map(str::to_owned)
    .to_vec();
    for event in [
        "onclick",
        "onmouseover",
        "onanimationstart",
        "onbegin",
        "onblur",
        "oncut",
        "ondrag",
        "onfocusin",
        "oninput",
        "onkeydown",
        "onload",
        "onpaste",
        "onpointerenter",
        "onresize",
        "onscroll",
        "onsearch",
        "onselect",
        "onshow",
        "ontouchstart",
        "ontransitionend",
        "onwheel",
        "onbeforeunload",
        "onhashchange",
        "onmessage",
        "onpopstate",
        "onstorage",
        "onunload",
    ] {
        all.push(format!("x\" {event}=\"alert(1)"));
    }
    all
}

#[tokio::test]
async fn whatever_is_typed_anywhere_is_shown_as_text_or_not_at_all() {
    let server = Server::with_key().await;
    let mut browser = Browser::of(&server, server.admin()).await;
    let payloads = payloads();
    assert!(payloads.len() >= 60, "{}", payloads.len());
    for (at, payload) in payloads.iter().enumerate() {
        let token = browser.get(KEY).await.form_token();
        let with = |fields: &[(&'static str, &str)]| -> Vec<(String, String)> {
            let token = [("form-token", token.as_str())];
            token
                .iter()
                .chain(fields)
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect()
        };
        let name = format!("project-{at}");
        let forms = [
            ("/console/projects".to_owned(), with(&[("id", payload), ("name", payload)])),
            // A display name may be anything that is short.
            ("/console/projects".to_owned(), with(&[("id", &name), ("name", payload)])),
            (format!("{PROJECT}/services"), with(&[("api", payload)])),
            (format!("{PROJECT}/keyRings"), with(&[("name", payload), ("location", payload)])),
            (
                format!("{RING}/cryptoKeys"),
                with(&[
                    ("name", payload),
                    ("rotates", "yes"),
                    ("days", payload),
                    ("start", payload),
                    ("labels", payload),
                ]),
            ),
            (format!("{RING}/cryptoKeys"), with(&[("name", "key-2"), ("labels", &format!("a={payload}"))])),
            (format!("{RING}/members"), with(&[("key", "key-1"), ("member", payload), ("role", payload)])),
            (format!("{RING}/members"), with(&[("key", payload), ("member", "a@example.com")])),
            (format!("{KEY}/members"), with(&[("member", payload), ("role", payload)])),
            (format!("{KEY}/remove-member"), with(&[("member", payload), ("role", payload)])),
            (format!("{KEY}/1/destroy"), with(&[("name", payload), ("token", payload)])),
            (
                format!("{PROJECT}/clusters"),
                with(&[("name", payload), ("location", payload), ("encrypt", "yes"), ("key-name", payload)]),
            ),
            ("/console/sessions/x/end".to_owned(), with(&[("id", payload)])),
        ];
        let mut pages = Vec::new();
        for (action, fields) in &forms {
            let fields: Vec<(&str, &str)> =
                fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            pages.push(browser.post(action, &fields).await);
        }
        let encoded: String = form_urlencoded::byte_serialize(payload.as_bytes()).collect();
        let encoded = encoded.replace('+', "%20");
        for path in [
            "/console".to_owned(),
            format!("/console?page={encoded}"),
            format!("/console/{encoded}"),
            format!("/console/projects/{encoded}"),
            format!("/console/projects/{encoded}/keyRings/new"),
            format!("{RING}?saved={encoded}&page={encoded}"),
            format!("/console/projects/key-project/locations/{encoded}/keyRings/{encoded}"),
            format!("/console/language/{encoded}"),
            KEY.to_owned(),
        ] {
            pages.push(browser.get(&path).await);
        }
        for page in pages {
            assert!(page.status < 500, "{payload}: {}", page.html);
            let shown = page.html.contains(payload.as_str()) && payload.contains(['<', '"', '\'']);
            assert!(!shown || harmless(payload), "{payload} stands in the page as it is:\n{}", page.html);
            for name in ["set-cookie", "x-evil"] {
                let evil =
                    page.headers.get(name).is_some_and(|it| it.as_bytes().windows(4).any(|it| it == b"evil"));
                assert!(!evil && !page.headers.contains_key("x-evil"), "{payload} ended a header");
            }
        }
    }
    // What was taken is shown, as text.
    let list = browser.get("/console").await;
    assert!(list.html.contains(&html_escaped("<body onload=alert(1)>")), "{}", list.html);
    assert!(!list.html.contains(">49<"));
}

/// Our own pages have some of these letters in a row.
fn harmless(payload: &str) -> bool {
    !payload.contains(['<', '"', '\''])
}

#[tokio::test]
async fn endless_and_broken_forms_are_refused() {
    let server = Server::with_key().await;
    let mut browser = Browser::of(&server, server.admin()).await;
    let long = "a".repeat(65 * 1024);
    assert_eq!(browser.post("/console/projects", &[("id", &long)]).await.status, 413);
    for method in ["PUT", "DELETE", "PATCH", "TRACE", "OPTIONS"] {
        let request = Request::builder().method(method).uri("/console/projects");
        assert_eq!(browser.send(request, String::new()).await.status, 405, "{method}");
    }
    let head = browser.send(Request::head(KEY), String::new()).await;
    assert_eq!((head.status, head.html.as_str()), (200, ""));
    for path in
        ["/console/%ff", "/console/%00", "/console/projects/a/b/c/d/e/f/g/h", "/console//////", "/consol"]
    {
        let status = browser.get(path).await.status;
        assert!(matches!(status, 200 | 404), "{path}: {status}");
    }
}

#[tokio::test]
async fn who_guesses_tokens_is_slowed_down_and_counted_and_leaves_no_record() {
    let server = Server::new().await;
    let mut browser = Browser::new(&server);
    let mut statuses = Vec::new();
    for _ in 0..12 {
        statuses.push(browser.post("/console/login", &[("token", "ks_0123456789abcdef_no")]).await.status);
    }
    assert_eq!(statuses, [&[401; 10][..], &[429; 2]].concat());
}
