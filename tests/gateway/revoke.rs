//! `POST /revoke`: V1, R14.

use crate::support::rig::Rig;

#[tokio::test]
async fn either_token_ends_the_grant_at_once() {
    // V1, R14
    let rig = Rig::dev().await;
    for kind in ["access_token", "refresh_token"] {
        let client = rig.register().await;
        let tokens = rig.tokens(&client, "alice").await;
        let access = tokens["access_token"].as_str().unwrap();
        assert_eq!(rig.call(access).await.status, 502, "admitted, and nothing listens behind");
        let form =
            [("token", tokens[kind].as_str().unwrap()), ("token_type_hint", kind), ("client_id", &client)];
        assert_eq!(rig.post("/revoke", &[], &form).await.status, 200);
        let refused = rig.call(access).await;
        assert_eq!(refused.status, 401);
        assert!(refused.header("www-authenticate").contains("error=\"invalid_token\""), "{refused:?}");
        let refresh = rig.refresh(&client, tokens["refresh_token"].as_str().unwrap(), &[]).await;
        assert_eq!((refresh.status.as_u16(), refresh.json()["error"].as_str()), (400, Some("invalid_grant")));
        assert_eq!(rig.post("/revoke", &[], &form).await.status, 200, "once more is no error");
    }
}

#[tokio::test]
async fn an_unknown_token_is_200_and_an_unknown_client_401() {
    // V1
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let unknown = rig.post("/revoke", &[], &[("token", "whatever"), ("client_id", &client)]).await;
    assert_eq!(unknown.status, 200);
    let stranger = rig.post("/revoke", &[], &[("token", "whatever"), ("client_id", "c_unknown")]).await;
    assert_eq!((stranger.status.as_u16(), stranger.json()["error"].as_str()), (401, Some("invalid_client")));
    let missing = rig.post("/revoke", &[], &[("client_id", &client)]).await;
    assert_eq!((missing.status.as_u16(), missing.json()["error"].as_str()), (400, Some("invalid_request")));
}

#[tokio::test]
async fn another_client_s_token_is_not_revoked() {
    // V1
    let rig = Rig::dev().await;
    let client = rig.register().await;
    let tokens = rig.tokens(&client, "alice").await;
    let access = tokens["access_token"].as_str().unwrap();
    let other = rig.register().await;
    for kind in ["access_token", "refresh_token"] {
        rig.post("/revoke", &[], &[("token", tokens[kind].as_str().unwrap()), ("client_id", &other)]).await;
        assert_eq!(rig.call(access).await.status, 502, "{kind}: still admitted");
    }
}
