//! Every route that is served has an adapter behind it.

use super::Server;

#[tokio::test]
async fn every_served_route_finds_its_adapter_and_asks_who_calls() {
    let server = Server::new().await;
    let routes: Vec<_> = server.api.gateway().routes().cloned().collect();
    for route in routes {
        let path = crate::rest::example(&route.template);
        let stranger = server.call_as("nobody", route.http_method.as_str(), &path, "").await;
        assert_eq!(stranger.status, 401, "{} {path}: {}", route.http_method, stranger.json);
        let known = server.call(route.http_method.as_str(), &path, "").await;
        // Policies are served, but not of what is not served itself.
        let none = ["/importJobs/", "/ekmConfig", "/ekmConnections/"].iter().any(|it| path.contains(it));
        assert_eq!(
            known.json["error"]["status"] == "UNIMPLEMENTED",
            !route.served || none,
            "{} {path}: {}",
            route.http_method,
            known.json
        );
    }
}
