//! An account's guard, on its owner's page and on the operator's: rules that are added and removed, each with its line in the audit log.

use countersign_store::ActionFilter;

use crate::support::Server;

#[tokio::test]
async fn an_owner_adds_and_removes_rules_and_what_is_no_area_stays_typed() {
    let server = Server::start().await;
    let owner = server.owner().await;
    let page = owner.get("/account/guard").await;
    assert!(page.has("There are no rules: codes go everywhere."), "{}", page.body);
    for (area, verdict) in [("de", "allow"), ("44909", "block"), ("+4915", "trust")] {
        let page = owner
            .post("/account/guard", &[("area", area), ("verdict", verdict)])
            .await;
        assert_eq!(page.location(), format!("/account/guard?done={verdict}"));
    }
    let page = owner.get("/account/guard?done=block").await;
    assert!(page.has("No code goes there from now on."));
    assert!(page.has("Numbers that begin with +44909") && page.has("Remove the rule for DE"));
    let rules = server.store.areas(owner.account).await.unwrap();
    assert_eq!(rules.encode(), "allow DE,block +44909,trust +4915");

    let refused = owner
        .post("/account/guard", &[("area", "Germany"), ("verdict", "trust")])
        .await;
    assert_eq!(refused.status, 422);
    assert!(refused.has("value=\"Germany\"") && refused.has("aria-describedby=\"area-problem area-hint\""));
    assert!(refused.has("<option value=\"trust\" selected>"));
    let unknown = owner
        .post("/account/guard", &[("area", "DE"), ("verdict", "forbid")])
        .await;
    assert_eq!(unknown.status, 400);

    let removed = owner.post("/account/guard", &[("area", "DE"), ("remove", "1")]).await;
    assert_eq!(removed.location(), "/account/guard?done=removed");
    assert_eq!(
        server.store.areas(owner.account).await.unwrap().encode(),
        "block +44909,trust +4915"
    );
}

#[tokio::test]
async fn the_operator_sees_and_sets_an_accounts_rules_and_the_audit_log_says_who_did() {
    let server = Server::start().await;
    let (owner, operator) = (server.owner().await, server.operator().await);
    owner
        .post("/account/guard", &[("area", "IT"), ("verdict", "block")])
        .await;
    let id = owner.account.id;
    let path = format!("/operator/accounts/{id}/guard");
    assert!(operator.get(&format!("/operator/accounts/{id}")).await.has(&path));
    assert!(operator.get(&path).await.has("The country IT"));
    let csrf = operator.csrf_on(&path).await;
    let page = operator
        .post_with(&path, &csrf, &[("area", "IT"), ("verdict", "allow")])
        .await;
    assert_eq!(page.location(), format!("{path}?done=allow"));
    assert!(owner.get("/account/guard").await.has("Allowed"));
    let filter = ActionFilter {
        action_prefix: Some("areas".into()),
        ..ActionFilter::default()
    };
    let records = server.store.actions(filter, None, 10).await.unwrap().records;
    let said: Vec<(&str, &str)> = records
        .iter()
        .map(|record| (record.actor.as_str(), record.detail.as_str()))
        .collect();
    assert_eq!(
        said,
        [
            ("operator", "added: allow IT; removed: block IT"),
            ("owner", "added: block IT")
        ]
    );
    // Nobody sees another's, and without the form's token nothing changes.
    assert!(
        server
            .other()
            .await
            .get("/account/guard")
            .await
            .has("There are no rules")
    );
    let stale = owner
        .post_with("/account/guard", "stale", &[("area", "IT"), ("remove", "1")])
        .await;
    assert_eq!(stale.status, 403);
}
