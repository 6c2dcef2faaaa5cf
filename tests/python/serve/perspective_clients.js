// Runs clients of the Perspective API, which only know its one address, against another server.
//
// node perspective_clients.js BASE_URL KEY: prints a line of JSON for each call. Needs the packages
// perspective-api-client and @conversationai/perspectiveapi-js-client where Node finds them (NODE_PATH).
'use strict';
const [base, key] = process.argv.slice(2);
const Perspective = require('perspective-api-client');
const official = require('@conversationai/perspectiveapi-js-client');

for (const name of ['perspective-api-client', '@conversationai/perspectiveapi-js-client']) {
  const axios = require(require.resolve('axios', {paths: [require.resolve(name)]}));
  axios.interceptors.request.use((config) => {
    config.url = config.url.replace('https://commentanalyzer.googleapis.com', base);
    return config;
  });
}

async function tried(name, call) {
  try {
    console.log(JSON.stringify({name, answer: await call()}));
  } catch (error) {
    const response = error.response && {status: error.response.status, data: error.response.data};
    console.log(JSON.stringify({name, error: error.name, message: error.message, response}));
  }
}

async function main() {
  const one = new Perspective({apiKey: key});
  const text = 'Nice weather. <b>The \u{1F600} angry dog!</b>';
  await tried('default', () => one.analyze(text));
  await tried('attributes', () => one.analyze(text, {attributes: ['toxicity', 'insult']}));
  await tried('object', () => one.analyze({
    comment: {text},
    requestedAttributes: {TOXICITY: {}},
    spanAnnotations: true,
    languages: ['en'],
    clientToken: 'token',
  }));
  await tried('unscored', () => one.analyze(text, {attributes: ['PROFANITY']}));
  await tried('unknown', () => one.analyze(text, {attributes: ['TOXIC']}));
  await tried('language', () => one.analyze({
    comment: {text: 'Bonjour'}, requestedAttributes: {TOXICITY: {}}, languages: ['fr'],
  }));
  await tried('empty', () => one.analyze('', {validate: false}));
  await tried('key', () => new Perspective({apiKey: 'wrong'}).analyze(text));
  const other = new official.Client(key);
  await tried('official', () => other.getScores(text, {attributes: ['TOXICITY', 'INSULT']}));
  await tried('official-default', () => other.getScores(text));
}

main();
