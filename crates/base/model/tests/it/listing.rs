use keystead_model::listing::{
    InvalidListing, ListRequest, ListedKey, Listing, Page, issue_token, page_size, read_token,
};
use keystead_model::{CryptoKeyVersion, VersionState};
use proptest::prelude::*;

use crate::samples::{KEY, at, named_key, version};

const RING: &str = "projects/key-project/locations/us/keyRings/prod";

fn keys(ids: &[&str]) -> Vec<ListedKey> {
    ids.iter()
        .map(|id| ListedKey {
            key: named_key(&format!("{RING}/cryptoKeys/{id}"), &[("id", &id.to_lowercase())]),
            primary: None,
        })
        .collect()
}

fn page(request: &ListRequest<'_>, all: Vec<ListedKey>) -> Page<ListedKey> {
    match Listing::parse(request) {
        Ok(listing) => listing.page(all),
        Err(error) => panic!("{request:?}: {error}"),
    }
}

fn ids(page: &Page<ListedKey>) -> Vec<&str> {
    page.items.iter().map(|item| item.key.name.key.as_str()).collect()
}

#[test]
fn pages_follow_each_other() {
    let all = ["a", "b", "c", "d", "e"];
    let first = ListRequest { parent: RING, page_size: 2, ..ListRequest::default() };
    let one = page(&first, keys(&all));
    assert_eq!((ids(&one), one.total_size), (vec!["a", "b"], 5));

    // `b`, at which the next page begins, is deleted, and `bb` is new.
    let second = ListRequest { page_token: &one.next_page_token, ..first };
    let two = page(&second, keys(&["a", "bb", "c", "d", "e"]));
    assert_eq!(ids(&two), ["bb", "c"]);

    let third = ListRequest { page_token: &two.next_page_token, page_size: 5, ..first };
    let three = page(&third, keys(&all));
    assert_eq!((ids(&three), three.next_page_token.as_str()), (vec!["d", "e"], ""));
    assert_eq!(page(&ListRequest { page_size: 5, ..first }, keys(&all)).next_page_token, "");
}

#[test]
fn the_total_counts_what_the_filter_lets_through() {
    let request = ListRequest {
        parent: RING,
        page_size: 1,
        filter: "labels.id=a OR labels.id=c",
        order_by: "name desc",
        ..ListRequest::default()
    };
    let found = page(&request, keys(&["a", "b", "c"]));
    assert_eq!((ids(&found), found.total_size), (vec!["c"], 2));
    let next = page(&ListRequest { page_token: &found.next_page_token, ..request }, keys(&["a", "b", "c"]));
    assert_eq!((ids(&next), next.next_page_token.as_str()), (vec!["a"], ""));
}

#[test]
fn lists_are_sorted_as_asked() {
    let versions = |order_by| {
        let mut all: Vec<CryptoKeyVersion> = [2, 10, 1].map(|it| version(it, VersionState::Enabled)).into();
        all[0].create_time = at("2027-01-01T00:00:00Z");
        all[1].create_time = at("1950-01-01T00:00:00Z");
        all[2].create_time = at("1960-01-01T00:00:00Z");
        let request = ListRequest { parent: KEY, order_by, ..ListRequest::default() };
        let page = Listing::parse(&request).expect("an order").page(all);
        page.items.iter().map(|it| it.name.version.get()).collect::<Vec<_>>()
    };
    assert_eq!(versions(""), [1, 2, 10]);
    assert_eq!(versions("name asc"), [1, 2, 10]);
    assert_eq!(versions("  name   desc "), [10, 2, 1]);
    assert_eq!(versions("create_time"), [10, 1, 2]);
    assert_eq!(versions("createTime desc"), [2, 1, 10]);
    for wrong in ["state", "name, createTime", "name desc desc", "desc", "name DESC"] {
        let request = ListRequest { parent: KEY, order_by: wrong, ..ListRequest::default() };
        let error = Listing::<CryptoKeyVersion>::parse(&request).expect_err(wrong);
        assert_eq!(
            error.to_string(),
            format!("order_by must be `name`, `create_time` or one of them with ` desc`, not {wrong:?}.")
        );
    }
}

#[test]
fn sizes_of_pages_are_bounded() {
    assert_eq!(page_size(0), Ok(100));
    assert_eq!(page_size(1), Ok(1));
    assert_eq!(page_size(1_000), Ok(1_000));
    assert_eq!(page_size(1_001), Ok(1_000));
    assert_eq!(page_size(i32::MAX), Ok(1_000));
    let error = page_size(-1).expect_err("negative");
    assert_eq!(error.to_string(), "page_size must not be negative, but is -1.");
}

#[test]
fn parent_and_filter_of_a_token_do_not_run_into_each_other() {
    let bound = |parent: &str, filter: &str| [parent.to_owned(), filter.to_owned(), "name".to_owned()];
    let token = issue_token("k", &bound("projects/ab", "c"));
    assert_eq!(read_token(&token, &bound("projects/a", "bc")), Err(InvalidListing::PageToken));
}

#[test]
fn a_token_is_good_for_its_own_request_only() {
    let first = ListRequest { parent: RING, page_size: 1, filter: "name:crypto", ..ListRequest::default() };
    let token = page(&first, keys(&["a", "b"])).next_page_token;
    let with_token = ListRequest { page_token: &token, ..first };
    assert!(Listing::<ListedKey>::parse(&with_token).is_ok());
    assert!(Listing::<ListedKey>::parse(&ListRequest { page_size: 7, ..with_token }).is_ok());
    for other in [
        ListRequest { parent: "projects/key-project/locations/us/keyRings/test", ..with_token },
        ListRequest { filter: "name:key", ..with_token },
        ListRequest { order_by: "name desc", ..with_token },
    ] {
        let error = Listing::<ListedKey>::parse(&other).expect_err("another request");
        assert_eq!(error, InvalidListing::PageToken);
        assert_eq!(
            error.to_string(),
            "page_token does not belong to this request: send the next_page_token of the answer before, with the same \
             parent, filter and order_by."
        );
    }
}

proptest! {
    #[test]
    fn a_token_gives_its_place_back(place in "\\PC{0,40}", bound in proptest::collection::vec("\\PC{0,20}", 3)) {
        let token = issue_token(&place, &bound);
        prop_assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric()), "it needs no escaping in a URL");
        prop_assert_eq!(read_token(&token, &bound), Ok(place));
    }

    #[test]
    fn a_token_that_was_touched_is_none(place in "[a-z]{1,20}", at: prop::sample::Index, with in "[0-9a-zA-Z%]") {
        let bound = ["parent".to_owned(), String::new(), "name".to_owned()];
        let token = issue_token(&place, &bound);
        let mut touched = token.clone();
        let at = at.index(token.len());
        touched.replace_range(at..=at, &with);
        prop_assume!(touched != token);
        prop_assert_eq!(read_token(&touched, &bound), Err(InvalidListing::PageToken));
        prop_assert_eq!(read_token(&token[..at], &bound), Err(InvalidListing::PageToken));
    }

    #[test]
    fn no_text_is_a_token_by_chance(text in "\\PC{0,80}|[0-9a-f]{0,80}") {
        prop_assert_eq!(read_token(&text, &["p".into(), String::new(), "name".into()]), Err(InvalidListing::PageToken));
    }

    /// Going through the pages shows everything once, in order, whatever the size of a page.
    #[test]
    fn all_pages_together_are_the_list(
        ids in proptest::collection::btree_set("[a-zA-Z0-9_-]{1,4}", 0..30),
        size in 1..7_i32,
        descending: bool,
    ) {
        let all: Vec<&str> = ids.iter().map(String::as_str).collect();
        let mut token = String::new();
        let mut seen: Vec<String> = Vec::new();
        // At most one page for each, and an empty one.
        for left in (0..=all.len()).rev() {
            let request = ListRequest {
                parent: RING,
                page_size: size,
                page_token: &token,
                order_by: if descending { "name desc" } else { "" },
                ..ListRequest::default()
            };
            let found = page(&request, keys(&all));
            prop_assert_eq!(found.total_size, all.len());
            prop_assert!(found.items.len() <= usize::try_from(size).expect("small"));
            seen.extend(found.items.iter().map(|it| it.key.name.key.to_string()));
            if found.next_page_token.is_empty() {
                break;
            }
            prop_assert!(!found.items.is_empty() && left > 0);
            token = found.next_page_token;
        }
        if descending {
            seen.reverse();
        }
        prop_assert_eq!(seen, all);
    }
}
