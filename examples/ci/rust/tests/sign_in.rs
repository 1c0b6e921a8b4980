//! How an app that signs people in by a code is tested. The numbers follow a script: see the documentation of the sandbox.

use std::error::Error;

use countersign_ci_example::Sandbox;
use countersign_client::{Client, ClientError, SendRequest, is_code_valid};

/// The app's own code would be here. All that a test changes of it is the address.
async fn ask(client: &Client, phone: &str) -> Result<String, ClientError> {
    let request = SendRequest::new(phone).code_length(6).ttl_seconds(60);
    Ok(client.send(&request).await?.request_id)
}

#[tokio::test]
async fn the_right_code_signs_in_and_a_wrong_one_does_not() -> Result<(), Box<dyn Error>> {
    let sandbox = Sandbox::start()?;
    let client = sandbox.client()?;
    // A code for +99966X… is X repeated.
    let request = ask(&client, "+9996610001").await?;
    assert!(!is_code_valid(&client.check(&request, "222222").await?));
    assert!(is_code_valid(&client.check(&request, "111111").await?));
    Ok(())
}

#[tokio::test]
async fn a_number_that_cannot_be_reached_is_said_to_be_so() -> Result<(), Box<dyn Error>> {
    let sandbox = Sandbox::start()?;
    let refused = ask(&sandbox.client()?, "+9996630004").await;
    assert!(refused.is_err_and(|error| error.to_string().contains("PHONE_NUMBER_NOT_FOUND")));
    Ok(())
}

#[tokio::test]
async fn a_code_that_never_arrived_expires_and_is_refunded() -> Result<(), Box<dyn Error>> {
    let sandbox = Sandbox::start()?;
    let client = sandbox.client()?;
    let request = ask(&client, "+9996640003").await?;
    sandbox.advance_clock(61).await?;
    let status = client.status(&request).await?;
    assert!(status.is_refunded);
    Ok(())
}
