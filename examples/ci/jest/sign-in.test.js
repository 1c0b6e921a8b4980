// How an app that signs people in by a code is tested. The numbers follow a script: see the documentation of the sandbox.

const call = async (method, parameters) => {
  const answer = await fetch(`${process.env.GATEWAY_URL}/${method}`, {
    method: "POST",
    headers: { Authorization: `Bearer ${process.env.GATEWAY_TOKEN}`, "Content-Type": "application/json" },
    body: JSON.stringify(parameters),
  });
  return answer.json();
};

// The app's own code would be here. All that a test changes of it is the address.
const ask = async (phone) => {
  const answer = await call("sendVerificationMessage", { phone_number: phone, code_length: 6, ttl: 60 });
  if (!answer.ok) throw new Error(answer.error);
  return answer.result.request_id;
};
const status = async (request, code) => (await call("checkVerificationStatus", { request_id: request, code })).result;

test("the right code signs in", async () => {
  // A code for +99966X… is X repeated.
  const request = await ask("+9996610001");
  expect((await status(request, "111111")).verification_status.status).toBe("code_valid");
});

test("a wrong code does not", async () => {
  const request = await ask("+9996620001");
  expect((await status(request, "111111")).verification_status.status).toBe("code_invalid");
});

test("a number that cannot be reached is said to be so", async () => {
  await expect(ask("+9996630004")).rejects.toThrow("PHONE_NUMBER_NOT_FOUND");
});

test("a code that never arrived expires and is refunded", async () => {
  const request = await ask("+9996640003");
  expect((await status(request)).delivery_status.status).toBe("sent");
  // What is due then is done before the answer comes: a test never has to wait.
  expect(await call("sandbox/clock", { advance_seconds: 61 })).toMatchObject({ ok: true });
  expect(await status(request)).toMatchObject({ delivery_status: { status: "expired" }, is_refunded: true });
});
