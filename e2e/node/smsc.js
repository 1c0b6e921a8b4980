// A message centre for tests: the npm package `smpp` speaks the protocol, this file says how the centre behaves. It is told so by
// lines of JSON on its standard input, and tells what it sees by lines of JSON on its standard output. It ends with its input.
//
//   node smsc.js '{"system_id":"countersign","password":"secret"}'
//
// The first argument sets what stands in `settings` and `behaviour`; input lines have a `do`:
//   {"do":"behave", …}                      changes `behaviour`
//   {"do":"release"}                        answers the submits that `submit:"hold"` holds back
//   {"do":"receipt","id":…,"stat":…}        sends a delivery receipt for an accepted message (the last one without `id`)
//   {"do":"message","from":…,"text":…}      sends a message of a phone
//   {"do":"raw","hex":…}                    sends bytes as they are
//   {"do":"drop"}                           breaks all connections
//   {"do":"unbind"}                         ends all sessions in good order
'use strict';

const fs = require('fs');
const path = require('path');
const readline = require('readline');

const modules = process.env.COUNTERSIGN_TEST_NODE || path.join(__dirname, 'node_modules');
const smpp = require(path.join(modules, 'smpp'));

const settings = { port: 0, system_id: 'countersign', password: 'secret', key_file: null, cert_file: null, first_id: 1000 };
const behaviour = {
  bind_status: 0, // other than 0: every bind is refused with it
  submit: 'accept', // accept | hold (until "release") | ignore (no answer, ever) | drop (breaks the connection) | garbage
  submit_status: 0, // other than 0: the next submits are refused with it
  submit_count: -1, // how many submits `submit` and `submit_status` hold for; -1: all
  ids: 'decimal', // the form of message ids in answers: decimal | hex
  receipt: 'DELIVRD', // the state in receipts, sent where a submit asks for them; null: none is sent
  receipt_ids: 'same', // the form of message ids in receipts: same | decimal | hex
  receipt_in: 'both', // where a receipt says what it says: text | fields | both
  receipt_copies: 1,
  receipt_first: false, // sends the receipt before the answer to the submit
  enquire_link: 'answer', // answer | ignore
};
Object.assign(settings, pick(process.argv[2] ? JSON.parse(process.argv[2]) : {}, settings));
Object.assign(behaviour, pick(process.argv[2] ? JSON.parse(process.argv[2]) : {}, behaviour));

const STATES = { ENROUTE: 1, DELIVRD: 2, EXPIRED: 3, DELETED: 4, UNDELIV: 5, ACCEPTD: 6, UNKNOWN: 7, REJECTD: 8 };
const sessions = new Set();
const accepted = new Map(); // by number: what was accepted under it
let held = [];
let nextId = settings.first_id;
let outstanding = 0;

function pick(from, known) {
  return Object.fromEntries(Object.entries(from).filter(([key]) => key in known));
}

function tell(event, fields) {
  process.stdout.write(JSON.stringify({ event, ...fields }) + '\n');
}

function inForm(number, form) {
  return form === 'hex' ? number.toString(16).toUpperCase() : String(number);
}

function textOf(pdu) {
  const field = pdu.message_payload || pdu.short_message;
  return field && field.message !== undefined ? String(field.message) : '';
}

function timesOut() {
  if (behaviour.submit_count > 0 && --behaviour.submit_count === 0) {
    Object.assign(behaviour, { submit: 'accept', submit_status: 0, submit_count: -1 });
  }
}

function onSubmit(session, pdu) {
  const { submit, submit_status: status } = behaviour;
  outstanding += 1;
  const number = nextId++;
  const id = inForm(number, behaviour.ids);
  tell('submit', {
    id: status ? null : id,
    from: pdu.source_addr,
    from_ton: pdu.source_addr_ton,
    from_npi: pdu.source_addr_npi,
    to: pdu.destination_addr,
    to_ton: pdu.dest_addr_ton,
    to_npi: pdu.dest_addr_npi,
    text: textOf(pdu),
    data_coding: pdu.data_coding,
    esm_class: pdu.esm_class,
    registered_delivery: pdu.registered_delivery,
    validity_period: rawValidity(pdu.validity_period),
    in_payload: pdu.message_payload !== undefined,
    outstanding,
  });
  const answer = () => {
    outstanding -= 1;
    if (status) {
      session.send(pdu.response({ command_status: status }));
      return;
    }
    accepted.set(number, { session, from: pdu.source_addr, to: pdu.destination_addr });
    const respond = () => session.send(pdu.response({ message_id: id }));
    const wanted = pdu.registered_delivery & 1 && behaviour.receipt !== null;
    if (wanted && behaviour.receipt_first) sendReceipts(number, behaviour.receipt, behaviour.receipt_copies);
    respond();
    if (wanted && !behaviour.receipt_first) sendReceipts(number, behaviour.receipt, behaviour.receipt_copies);
  };
  timesOut();
  if (submit === 'hold') held.push(answer);
  else if (submit === 'drop') session.destroy();
  else if (submit === 'garbage') session.socket.write(Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'));
  else if (submit === 'accept') answer();
}

function rawValidity(value) {
  // The package makes a date of it: how far that is away, in seconds.
  return value instanceof Date ? Math.round((value.getTime() - Date.now()) / 1000) : value || null;
}

function sendReceipts(number, stat, copies) {
  for (let copy = 0; copy < copies; copy += 1) sendReceipt(number, stat);
}

function sendReceipt(number, stat) {
  const message = accepted.get(number);
  const form = behaviour.receipt_ids === 'same' ? behaviour.ids : behaviour.receipt_ids;
  const id = inForm(number, form);
  const delivered = stat === 'DELIVRD';
  const text =
    `id:${id} sub:001 dlvrd:${delivered ? '001' : '000'} submit date:2401010000 done date:2401010001 ` +
    `stat:${stat} err:${delivered ? '000' : '042'} text:`;
  const fields = { receipted_message_id: id, message_state: STATES[stat] };
  const session = sessions.has(message.session) ? message.session : [...sessions][0];
  if (!session) return;
  session.deliver_sm(
    {
      source_addr: message.to,
      source_addr_ton: 1,
      source_addr_npi: 1,
      destination_addr: message.from,
      esm_class: 4,
      short_message: behaviour.receipt_in === 'fields' ? '' : text,
      ...(behaviour.receipt_in === 'text' ? {} : fields),
    },
    (answer) => tell('receipt_answer', { id, stat, status: answer.command_status }),
  );
}

function onSession(session) {
  sessions.add(session);
  let bound = false;
  session.on('error', (error) => tell('error', { text: String(error.message) }));
  session.on('close', () => {
    sessions.delete(session);
    tell('closed', { bound });
  });
  const refuse = (pdu, status) => {
    tell('refused', { system_id: pdu.system_id, status });
    session.send(pdu.response({ command_status: status }));
  };
  session.on('bind_transceiver', (pdu) => {
    if (behaviour.bind_status) return refuse(pdu, behaviour.bind_status);
    if (pdu.system_id !== settings.system_id) return refuse(pdu, smpp.ESME_RINVSYSID);
    if (pdu.password !== settings.password) return refuse(pdu, smpp.ESME_RINVPASWD);
    bound = true;
    tell('bound', { system_id: pdu.system_id, system_type: pdu.system_type, version: pdu.interface_version });
    session.send(pdu.response({ system_id: 'smsc' }));
  });
  session.on('submit_sm', (pdu) => {
    if (bound) onSubmit(session, pdu);
    else session.send(pdu.response({ command_status: smpp.ESME_RINVBNDSTS }));
  });
  session.on('cancel_sm', (pdu) => {
    tell('cancel', { id: pdu.message_id, from: pdu.source_addr, to: pdu.destination_addr });
    session.send(pdu.response());
  });
  session.on('enquire_link', (pdu) => {
    tell('enquire_link', {});
    if (behaviour.enquire_link === 'answer') session.send(pdu.response());
  });
  session.on('unbind', (pdu) => {
    tell('unbind', {});
    session.send(pdu.response(), () => session.close());
  });
  session.on('generic_nack', (pdu) => tell('generic_nack', { status: pdu.command_status }));
  session.on('deliver_sm_resp', (pdu) => tell('deliver_answer', { status: pdu.command_status }));
}

const commands = {
  behave: (line) => Object.assign(behaviour, pick(line, behaviour)),
  release: () => {
    const answers = held;
    held = [];
    answers.forEach((answer) => answer());
  },
  receipt: (line) => {
    const numbers = [...accepted.keys()];
    const number = line.id === undefined ? numbers[numbers.length - 1] : parseInt(line.id, behaviour.ids === 'hex' ? 16 : 10);
    sendReceipts(number, line.stat || 'DELIVRD', line.copies || 1);
  },
  message: (line) => {
    const session = [...sessions][0];
    const fields = { source_addr: line.from, source_addr_ton: 1, source_addr_npi: 1, destination_addr: line.to || '12345' };
    session.deliver_sm({ ...fields, short_message: line.text }, (answer) =>
      tell('message_answer', { text: line.text, status: answer.command_status }),
    );
  },
  raw: (line) => sessions.forEach((session) => session.socket.write(Buffer.from(line.hex, 'hex'))),
  drop: () => sessions.forEach((session) => session.destroy()),
  unbind: () => sessions.forEach((session) => session.unbind()),
};

const tls = settings.key_file
  ? { key: fs.readFileSync(settings.key_file), cert: fs.readFileSync(settings.cert_file) }
  : {};
const server = smpp.createServer(tls, onSession);
server.on('tlsClientError', (error) => tell('error', { text: String(error.message) }));
server.listen(settings.port, '127.0.0.1', () => tell('listening', { port: server.address().port }));

readline
  .createInterface({ input: process.stdin })
  .on('line', (line) => {
    const command = JSON.parse(line);
    commands[command.do](command);
    tell('done', { did: command.do });
  })
  .on('close', () => process.exit(0));
