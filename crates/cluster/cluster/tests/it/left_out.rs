//! A wildcard leaves out what may not be seen, says so to the end, and leaves out nothing else.

use anyhow::Result;
use keystead_cluster::reencrypt::{Control, Ending, Journal, Plan, PlanError, Request, run};
use keystead_model::ErrorClass;

use crate::fake::{Answer, Fake, Instead};

#[tokio::test]
async fn what_may_not_be_listed_is_left_out_and_the_report_says_so() -> Result<()> {
    for status in [403, 404] {
        let fake = Fake::start(3, Some(refuses("/api/v1/configmaps", status))).await?;
        let plan = Plan::make(&fake.server, all(&["*."])).await?;
        assert_eq!(plan.left_out.len(), 1, "{plan}");
        let run =
            run(&fake.server, &plan, Journal::open(None, &plan)?, Control::default(), &mut |_| ()).await;
        let report = run.report;
        assert_eq!((report.ending, fake.rewritten()), (Ending::Refused, 3), "{report}");
        assert_eq!(report.left_out, plan.left_out);
        assert_eq!(report.what_is_left(), "1 resources could not be seen");
        let text = format!("left out: configmaps: GET /api/v1/configmaps: HTTP {status}");
        assert!(report.to_string().contains(&text), "{report}");
        assert!(serde_json::to_string(&report)?.contains(r#""left_out":[{"resource":"configmaps","#));
    }
    Ok(())
}

#[tokio::test]
async fn whatever_else_a_list_answers_is_no_reason_to_leave_it_out() -> Result<()> {
    for (status, class) in
        [(401, ErrorClass::Unauthenticated), (429, ErrorClass::Throttled), (400, ErrorClass::Invalid)]
    {
        let fake = Fake::start(3, Some(refuses("/api/v1/configmaps", status))).await?;
        let error = Plan::make(&fake.server, all(&["*."])).await.expect_err("no plan");
        assert!(matches!(error, PlanError::Call { .. }) && error.class() == class, "{status}: {error}");
    }
    // The first object may be one that cannot be read.
    let fake = Fake::start(3, Some(refuses("/api/v1/configmaps", 500))).await?;
    let plan = Plan::make(&fake.server, all(&["*."])).await?;
    assert_eq!((plan.steps.len(), plan.left_out.len()), (2, 0), "{plan}");
    // What was named itself.
    for names in [&["configmaps"][..], &["secrets", "configmaps."], &["*.", "configmaps"]] {
        let fake = Fake::start(3, Some(refuses("/api/v1/configmaps", 403))).await?;
        let error = Plan::make(&fake.server, all(names)).await.expect_err("no plan");
        assert_eq!(error.class(), ErrorClass::Denied, "{names:?}: {error}");
    }
    Ok(())
}

#[tokio::test]
async fn groups_of_other_api_servers_are_not_guessed() -> Result<()> {
    let path = "/apis/apiregistration.k8s.io/v1/apiservices";
    for status in [403, 404] {
        let fake = Fake::start(3, Some(refuses(path, status))).await?;
        Plan::make(&fake.server, all(&["secrets"])).await?;
    }
    for status in [401, 429, 500, 503] {
        let fake = Fake::start(3, Some(refuses(path, status))).await?;
        let error = Plan::make(&fake.server, all(&["secrets"])).await.expect_err("no plan");
        assert!(matches!(error, PlanError::Discovery(_)), "{status}: {error}");
    }
    Ok(())
}

fn all(names: &[&str]) -> Request {
    Request { resources: names.iter().map(|it| (*it).to_owned()).collect(), ..Request::default() }
}

fn refuses(start: &'static str, status: u16) -> Instead {
    Box::new(move |_, path, _| path.starts_with(start).then(|| Answer::new(status, "no")))
}
