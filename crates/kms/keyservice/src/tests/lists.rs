use keystead_model::ErrorClass;
use keystead_model::listing::issue_token;

use crate::operations::*;
use crate::testbed::{LOCATION, PROJECT, Testbed, create_key, ring, version};

#[tokio::test]
async fn pages_hold_everything_once_and_the_total() {
    let bed = Testbed::new().await;
    bed.key().await;
    for number in 0..24 {
        let name = format!("{LOCATION}/keyRings/r/cryptoKeys/key-{number:02}").parse().unwrap();
        let labels = [("parity".to_owned(), if number % 2 == 0 { "even" } else { "odd" }.to_owned())].into();
        bed.run(CreateCryptoKey { name, labels, ..create_key() }).await.unwrap();
    }
    let mut seen = Vec::new();
    let mut page_token = String::new();
    loop {
        let options = ListOptions { page_size: 10, page_token, ..ListOptions::default() };
        let page = bed.run(ListCryptoKeys { parent: ring(), options }).await.unwrap();
        assert_eq!(page.total_size, 25);
        assert!(page.items.iter().all(|item| item.primary.as_ref().unwrap().name.version == version(1)));
        seen.extend(page.items.into_iter().map(|item| item.key.name.key.to_string()));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen.len(), 25);
    assert!(seen.is_sorted());
    let options = ListOptions {
        filter: "labels.parity=odd".into(),
        order_by: "name desc".into(),
        ..ListOptions::default()
    };
    let odd = bed.run(ListCryptoKeys { parent: ring(), options }).await.unwrap();
    assert_eq!((odd.total_size, odd.items[0].key.name.key.as_str()), (12, "key-23"));
    assert!(odd.items.iter().all(|item| item.primary.is_some()), "the primaries of what is shown are there");
    for (state, total) in [("ENABLED", 25), ("DISABLED", 0)] {
        let options =
            ListOptions { filter: format!("NOT (primary.state!={state})"), ..ListOptions::default() };
        let page = bed.run(ListCryptoKeys { parent: ring(), options }).await.unwrap();
        assert_eq!((page.total_size, page.items.len()), (total, total), "{state}");
    }
}

#[tokio::test]
async fn a_list_of_what_is_not_there_is_not_found_or_refused() {
    let bed = Testbed::new().await;
    let missing =
        bed.run(ListCryptoKeys { parent: ring(), options: ListOptions::default() }).await.err().unwrap();
    assert_eq!(missing.class(), ErrorClass::NotFound);
    let parent = "projects/key-project/locations/mars".parse().unwrap();
    let nowhere = bed.run(ListKeyRings { parent, options: ListOptions::default() }).await.err().unwrap();
    assert_eq!(nowhere.class(), ErrorClass::NotFound);
    let options = ListOptions { page_token: "forged".into(), ..ListOptions::default() };
    let forged = bed.run(ListKeyRings { parent: LOCATION.parse().unwrap(), options }).await.err().unwrap();
    assert_eq!(forged.class(), ErrorClass::Invalid);
}

#[tokio::test]
async fn a_page_token_is_of_one_list() {
    let bed = Testbed::new().await;
    bed.project().await;
    let elsewhere = issue_token("a", &["projects".to_owned()]);
    let list = |page_token: &str| ListServiceAccounts {
        project: PROJECT.parse().unwrap(),
        page_size: 0,
        page_token: page_token.to_owned(),
    };
    bed.run(list(&issue_token("a", &["serviceAccounts".to_owned(), PROJECT.to_owned()]))).await.unwrap();
    for token in [elsewhere.as_str(), "robot", "00"] {
        let error = bed.run(list(token)).await.map(drop).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Invalid, "{token}");
        assert!(error.message().contains("page_token does not belong to this request"), "{error}");
    }
    let list = ListProjects { page_size: 0, page_token: "b-project".to_owned() };
    assert_eq!(bed.run(list).await.map(drop).unwrap_err().class(), ErrorClass::Invalid);
}

#[tokio::test]
async fn a_plain_list_and_a_sorted_one_show_the_same_pages() {
    let bed = Testbed::new().await;
    bed.key().await;
    for _ in 0..11 {
        bed.run(CreateCryptoKeyVersion { key: crate::testbed::key_name() }).await.unwrap();
    }
    for number in 0..3 {
        let name = format!("{LOCATION}/keyRings/r/cryptoKeys/k{number}").parse().unwrap();
        bed.run(CreateCryptoKey { name, ..create_key() }).await.unwrap();
        bed.run(CreateKeyRing { name: format!("{LOCATION}/keyRings/r{number}").parse().unwrap() })
            .await
            .unwrap();
    }
    // A filter that lets everything through: all is read and sorted.
    let sorted = "createTime>\"2000-01-01T00:00:00Z\"";
    macro_rules! same_pages {
        ($list:ident, $parent:expr, $pages:expr) => {
            let (mut tokens, mut pages) = ([String::new(), String::new()], 0);
            loop {
                let mut answers = Vec::new();
                for (filter, token) in ["", sorted].into_iter().zip(&tokens) {
                    let options = ListOptions {
                        page_size: 2,
                        page_token: token.clone(),
                        filter: filter.to_owned(),
                        order_by: String::new(),
                    };
                    answers.push(bed.run($list { parent: $parent, options }).await.unwrap());
                }
                assert_eq!(answers[0].items, answers[1].items);
                assert_eq!(answers[0].total_size, answers[1].total_size);
                assert_eq!(answers[0].next_page_token.is_empty(), answers[1].next_page_token.is_empty());
                tokens = [answers[0].next_page_token.clone(), answers[1].next_page_token.clone()];
                pages += 1;
                if tokens[0].is_empty() {
                    break;
                }
            }
            assert_eq!(pages, $pages, stringify!($list));
        };
    }
    same_pages!(ListKeyRings, LOCATION.parse().unwrap(), 2);
    same_pages!(ListCryptoKeys, ring(), 2);
    same_pages!(ListCryptoKeyVersions, crate::testbed::key_name(), 6);
}
