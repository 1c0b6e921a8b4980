use countersign_client::{Client, SendRequest, is_code_valid};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::new("http://127.0.0.1:8099", std::env::var("COUNTERSIGN_TOKEN")?)?;
    let phone = "+391234567890";
    let request = SendRequest::new(phone).code_length(6).ttl_seconds(300).payload("order 17");
    let sent = client.send(&request).await?;
    println!("{sent:?}");
    let mut code = String::new();
    std::io::stdin().read_line(&mut code)?;
    let status = client.check(&sent.request_id, code.trim()).await?;
    println!("valid: {}", is_code_valid(&status));
    let able = client.check_ability(phone).await?;
    let sent = client.send(&SendRequest::new(phone).request_id(able.request_id)).await?;
    client.revoke(&sent.request_id).await?;
    Ok(())
}
