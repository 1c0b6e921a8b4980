// Twilio's Messages API for tests, by programs that others wrote: Prism (@stoplight/prism-http-server) is a mock server that holds each
// request against an OpenAPI description, and the description is Twilio's own, as its command line carries it (@twilio/cli-core). The
// helper library `twilio` judges and makes signatures of callbacks. Commands are lines of JSON on standard input, events are lines of
// JSON on standard output. It ends with its input.
//
//   node twilio.js '{"port":0}'
//
//   {"do":"sign","token":…,"url":…,"parameters":{…}}                    tells "signed" with a "signature", as Twilio makes it
//   {"do":"validate","token":…,"url":…,"parameters":{…},"signature":…}  tells "validated" with "genuine": true or false
//
// It tells "request" for each request: its method, path and parameters, the status that it was answered with, and what Prism
// found wrong with it.
'use strict';

const fs = require('fs');
const http = require('http');
const path = require('path');
const readline = require('readline');

const modules = process.env.COUNTERSIGN_TEST_NODE || path.join(__dirname, 'node_modules');
const load = (name) => require(path.join(modules, name));
const { getHttpOperationsFromSpec } = load('@stoplight/prism-http');
const { createServer } = load('@stoplight/prism-http-server');
const webhooks = load('twilio/lib/webhooks/webhooks');

const settings = { port: 0, ...JSON.parse(process.argv[2] || '{}') };

// Of the whole API the operations that this channel uses: the description has hundreds.
const PATHS = [
  '/2010-04-01/Accounts/{Sid}.json',
  '/2010-04-01/Accounts/{AccountSid}/Messages.json',
  '/2010-04-01/Accounts/{AccountSid}/Messages/{Sid}.json',
  '/2010-04-01/Accounts/{AccountSid}/IncomingPhoneNumbers.json',
];

const tell = (event, fields) => process.stdout.write(JSON.stringify({ event, ...fields }) + '\n');
const silent = { trace() {}, debug() {}, info() {}, warn() {}, error() {}, fatal() {}, success() {}, child: () => silent };

async function main() {
  const file = path.join(modules, '@twilio/cli-core/src/services/twilio-api/twilio_api_v2010.json');
  const description = JSON.parse(fs.readFileSync(file, 'utf8'));
  description.paths = Object.fromEntries(PATHS.map((of) => [of, description.paths[of]]));
  // Where it is reached is our business: the server of the description is Twilio's.
  const strip = (item) => Object.fromEntries(Object.entries(item).filter(([key]) => key !== 'servers'));
  description.paths = Object.fromEntries(Object.entries(description.paths).map(([of, item]) => [of, strip(item)]));
  const { content } = description.paths['/2010-04-01/Accounts/{AccountSid}/Messages.json'].post.requestBody;
  const known = content['application/x-www-form-urlencoded'].schema.properties;
  const operations = await getHttpOperationsFromSpec(description);
  // Its answers aren't held against the description: some of the description's own examples break it.
  const prism = createServer(operations, {
    components: { logger: silent },
    config: { mock: { dynamic: false }, validateRequest: true, validateResponse: false, checkSecurity: true, errors: true },
    cors: false,
  });
  const address = await prism.listen(0, '127.0.0.1');

  // Prism writes only to a log what was asked: this stands before it, passes everything on as it is, and tells it.
  // One thing it adds: Prism passes over parameters that the description doesn't know, and to us they are mistakes.
  const front = http.createServer((request, answer) => {
    const chunks = [];
    request.on('data', (chunk) => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks);
      const { method, url, headers } = request;
      const onwards = http.request(address + url, { method, headers }, (prisms) => {
        const parts = [];
        prisms.on('data', (part) => parts.push(part));
        prisms.on('end', () => {
          const said = Buffer.concat(parts).toString();
          const parameters = Object.fromEntries(new URLSearchParams(body.toString()));
          const unknown = Object.keys(parameters).filter((name) => !(name in known));
          const status = unknown.length > 0 ? 422 : prisms.statusCode;
          const found = prisms.headers['sl-violations'] || (prisms.statusCode >= 400 ? said : '');
          const violations = unknown.length > 0 ? `unknown parameters: ${unknown}` : found;
          tell('request', { method, path: url, parameters, status, violations });
          answer.writeHead(status, { 'content-type': prisms.headers['content-type'] || 'text/plain' });
          answer.end(said);
        });
      });
      onwards.on('error', () => answer.destroy());
      onwards.end(body);
    });
  });
  front.listen(settings.port, '127.0.0.1', () => tell('listening', { port: front.address().port }));
}

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const { do: what, token, url, parameters, signature } = JSON.parse(line);
  if (what === 'sign') {
    tell('signed', { signature: webhooks.getExpectedTwilioSignature(token, url, parameters) });
  } else if (what === 'validate') {
    tell('validated', { genuine: webhooks.validateRequest(token, signature, url, parameters) });
  }
  tell('done', {});
}).on('close', () => process.exit(0));

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
