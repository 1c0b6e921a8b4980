// The Bot API for tests: the npm package `telegram-test-api` emulates it and its users, this file runs it. It is told what users do by
// lines of JSON on its standard input, and tells what bots do by lines of JSON on its standard output. It ends with its input.
//
//   node telegram.js TOKEN
//
// Input lines have a `do`, and each is answered by the event `done`:
//   {"do":"write","chat":…,"text":…}                 a user writes (a command, where it begins with a slash)
//   {"do":"share","chat":…,"contact":{…}}            a user shares a contact
//   {"do":"press","chat":…,"message":…,"data":…}     a user presses a button of a message
//   {"do":"webhook"}                                 tells the event `webhook`: what the bot set
// Events:
//   {"event":"listening","url":…}
//   {"event":"sent","id":…,"message":{…}}            the bot sent a message
//   {"event":"edited","message":{…}}                 the bot changed one; how it looks now
'use strict';

const path = require('path');
const readline = require('readline');

const modules = process.env.COUNTERSIGN_TEST_NODE || path.join(__dirname, 'node_modules');
const TelegramServer = require(path.join(modules, 'telegram-test-api'));

const token = process.argv[2];
const tell = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);

const server = new TelegramServer({ host: '127.0.0.1' });
// Zero would count as unset in the constructor: any free port.
server.config.port = 0;

server.on('AddedBotMessage', () => {
  const { messageId, message } = server.storage.botMessages.at(-1);
  tell({ event: 'sent', id: messageId, message });
});
const edit = server.editMessageText.bind(server);
server.editMessageText = (change) => {
  edit(change);
  const edited = server.storage.botMessages.find(({ messageId }) => messageId === change.message_id);
  if (edited) tell({ event: 'edited', message: edited.message });
};

const actions = {
  write: (client, { text }) =>
    text.startsWith('/') ? client.sendCommand(client.makeCommand(text)) : client.sendMessage(client.makeMessage(text)),
  share: (client, { contact }) => client.sendMessage(client.makeMessage(undefined, { contact })),
  press: (client, { message, data }) =>
    client.sendCallback(client.makeCallbackQuery(data, { message: { message_id: message } })),
  webhook: async () => tell({ event: 'webhook', webhook: server.webhooks[token] ?? null }),
};

server.start().then(() => {
  const url = `http://127.0.0.1:${server.server.address().port}`;
  server.config.apiURL = url;
  tell({ event: 'listening', url });
  const input = readline.createInterface({ input: process.stdin });
  input.on('line', async (line) => {
    const action = JSON.parse(line);
    const client = server.getClient(token, { userId: action.chat, chatId: action.chat });
    await actions[action.do](client, action);
    tell({ event: 'done' });
  });
  input.on('close', () => process.exit(0));
});
