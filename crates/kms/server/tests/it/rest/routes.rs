use std::collections::BTreeSet;

use keystead_server::rest::{Gateway, RouteName};

use super::{Recorder, grpc_ok, request, send};

/// Each template, filled in, leads to its own method and to no other.
#[tokio::test]
async fn every_route_leads_to_its_method() {
    let gateway = Gateway::new().expect("routes");
    let routes: Vec<RouteName> = gateway.routes().cloned().collect();
    assert!(routes.len() > 120, "{}", routes.len());
    for route in routes {
        let path = example(&route.template);
        let recorder = Recorder::answering(|| grpc_ok(&()));
        let (_, _, seen) = send(request(route.http_method.as_str(), &path, ""), &recorder).await;
        let seen = seen.unwrap_or_else(|| panic!("{} {path} is not found", route.http_method));
        assert_eq!(seen.path, format!("/{}/{}", route.service, route.method), "{} {path}", route.http_method);
    }
}

/// `{name=projects/*}` becomes `projects/x1`.
pub(crate) fn example(template: &str) -> String {
    let mut path = String::new();
    for part in template.split_inclusive('}') {
        let (literal, variable) = part.split_once('{').unwrap_or((part, ""));
        path.push_str(literal);
        let variable = variable.trim_end_matches('}');
        path.push_str(variable.split_once('=').map_or(if variable.is_empty() { "" } else { "*" }, |it| it.1));
    }
    path.replace("**", "*").replace('*', "x1")
}

/// The REST surface of Cloud KMS v1, written by hand from its published description.
#[test]
fn every_published_path_of_cloud_kms_is_known() {
    let gateway = Gateway::new().expect("routes");
    let known: BTreeSet<String> =
        gateway.routes().map(|route| format!("{} {}", route.http_method, example(&route.template))).collect();
    let location = "/v1/projects/x1/locations/x1";
    let ring = &format!("{location}/keyRings/x1");
    let key = &format!("{ring}/cryptoKeys/x1");
    let version = &format!("{key}/cryptoKeyVersions/x1");
    let mut expected = Vec::new();
    for (methods, path) in [
        ("GET", "/v1/projects/x1/locations".to_owned()),
        ("GET", location.to_owned()),
        ("GET", format!("{location}/operations/x1")),
        ("GET POST", format!("{location}/keyRings")),
        ("GET", ring.clone()),
        ("GET POST", format!("{ring}/cryptoKeys")),
        ("GET PATCH DELETE", key.clone()),
        ("GET POST", format!("{key}/cryptoKeyVersions")),
        ("GET PATCH DELETE", version.clone()),
        ("GET", format!("{version}/publicKey")),
        ("GET POST", format!("{ring}/importJobs")),
        ("GET", format!("{ring}/importJobs/x1")),
        ("GET", format!("{location}/retiredResources")),
        ("GET", format!("{location}/retiredResources/x1")),
        ("GET", format!("{version}:exportTrustedKeyWrappedCryptoKeyVersion")),
        ("GET POST", format!("{location}/keyHandles")),
        ("GET", format!("{location}/keyHandles/x1")),
        ("GET PATCH", "/v1/folders/x1/autokeyConfig".to_owned()),
        ("GET", "/v1/projects/x1:showEffectiveAutokeyConfig".to_owned()),
        ("GET POST", format!("{location}/ekmConnections")),
        ("GET PATCH", format!("{location}/ekmConfig")),
    ] {
        expected.extend(methods.split(' ').map(|method| format!("{method} {path}")));
    }
    for verb in ["destroy", "restore", "asymmetricSign", "asymmetricDecrypt", "macSign", "macVerify"]
        .into_iter()
        .chain(["rawEncrypt", "rawDecrypt", "decapsulate"])
    {
        expected.push(format!("POST {version}:{verb}"));
    }
    for verb in ["updatePrimaryVersion", "encrypt", "decrypt"] {
        expected.push(format!("POST {key}:{verb}"));
    }
    expected.push(format!("POST {key}/cryptoKeyVersions:import"));
    expected.push(format!("POST {location}:generateRandomBytes"));
    let job = format!("{ring}/importJobs/x1");
    let ekm = format!("{location}/ekmConfig");
    for resource in [ring.clone(), key.clone(), job, ekm, format!("{location}/ekmConnections/x1")] {
        expected.push(format!("GET {resource}:getIamPolicy"));
        expected.push(format!("POST {resource}:setIamPolicy"));
        expected.push(format!("POST {resource}:testIamPermissions"));
    }
    let missing: Vec<_> = expected.iter().filter(|path| !known.contains(*path)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}
