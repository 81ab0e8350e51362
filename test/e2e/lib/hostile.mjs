// Tokens that must be refused, each with the reason that the bridge's log has to name. What is wrong with each stands in
// its name; all else about it is right, so that no other check can be the one that refuses it.

import crypto from 'node:crypto';
import { keyPair, now, pem, signRaw } from './token.mjs';

export const LEEWAY_S = 30; // the default
const TWO_53 = '9007199254740992';

const signature = /^token's signature is wrong$/;
const alien = /^token's alg is not one of the key's$|^token's signature is wrong$/; // by which of our keys it was tried
const alg = /^token's alg is not supported$/;
const unsigned = /^token is not signed$/;
const header = /^token's header is not a valid JSON object$/;
const payload = /^token's payload is not a valid JSON object$/;
const base64 = /^token is not canonical base64url$/;
const parts = /^token has not three parts$/;
const time = (name) => new RegExp(`^token's ${name} is not a number from 0 to 2\\^53$`);
const user = /^token's user claim is not a string or an integer$/;
const units = /^token's units are neither an array nor an object of strings and integers$/;

const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
/** The same bytes, spelled with unused bits set: only where the part's last letter has some. */
const uncanonical = (part) => part.slice(0, -1) + LETTERS[LETTERS.indexOf(part.at(-1)) ^ 1];

/** Keys of an issuer, one of each kind, and the settings of a bridge that trusts them. */
export class Issuer {
  secret = crypto.randomBytes(48).toString('base64');
  issuer = 'https://login.example';
  audience = 'feeds';
  pairs = { r1: keyPair('RS256'), e1: keyPair('ES256'), d1: keyPair('EdDSA') };
  algs = { r1: 'RS256', e1: 'ES256', d1: 'EdDSA' };
  lone = keyPair('RS256'); // given as PEM, without a kid

  get pem() { return pem(this.lone.publicKey); }

  get jwks() {
    return JSON.stringify({ keys: Object.entries(this.pairs).map(([kid, { publicKey }]) => ({ ...publicKey.export({ format: 'jwk' }), kid, use: 'sig', alg: this.algs[kid] })) });
  }

  claims(more = {}) {
    return { sub: '42', units: [7], iss: this.issuer, aud: this.audience, iat: now(), exp: now() + 600, jti: crypto.randomUUID(), ...more };
  }

  /** Good ones, one for each kind of key. */
  good(own) {
    return {
      'the database\'s own key': signRaw('HS256', own.secret, { alg: 'HS256', typ: 'JWT', kid: own.kid }, { sub: '42', units: [7], exp: now() + 600, jti: crypto.randomUUID() }),
      ...Object.fromEntries(['HS256', 'HS384', 'HS512'].map((name) => [`a secret, ${name}`, signRaw(name, this.secret, { alg: name }, this.claims())])),
      'RSA as PEM': signRaw('RS256', this.lone.privateKey, { alg: 'RS256' }, this.claims()),
      ...Object.fromEntries(Object.entries(this.pairs).map(([kid, { privateKey }]) => [`${this.algs[kid]} of a set`, signRaw(this.algs[kid], privateKey, { alg: this.algs[kid], kid }, this.claims())])),
      'at the edges of the leeway': signRaw('HS256', this.secret, { alg: 'HS256' }, this.claims({ exp: now() - LEEWAY_S + 25, nbf: now() + LEEWAY_S - 10 })),
      'exp of 2^53': signRaw('HS256', this.secret, { alg: 'HS256' }, JSON.stringify(this.claims()).replace(/"exp":\d+/, `"exp":${TWO_53}`)),
      'a user that is an integer': signRaw('HS256', this.secret, { alg: 'HS256' }, this.claims({ sub: 42 })),
    };
  }
}

/** By their signature, algorithm or key. */
function forged(issuer, own) {
  const { secret, pairs, lone } = issuer;
  const claims = issuer.claims();
  const hs = (key, more = {}) => signRaw('HS256', key, { alg: 'HS256', typ: 'JWT', ...more }, issuer.claims());
  const none = (name, more = {}) => signRaw('none', null, { alg: name, ...more }, issuer.claims());
  const [h, p, s] = hs(secret).split('.');
  const ec = (sig) => { const data = `${Buffer.from('{"alg":"ES256","kid":"e1"}').toString('base64url')}.${Buffer.from(JSON.stringify(claims)).toString('base64url')}`; return `${data}.${sig(data).toString('base64url')}`; };
  const spki = (key) => key.export({ type: 'spki', format: 'der' });
  return [
    ...['none', 'None', 'NONE', 'nOnE'].map((name) => [`alg ${name}`, none(name), unsigned]),
    ['alg none with the signature of HS256', `${none('none').slice(0, -1)}.${s}`, unsigned],
    ['alg none with a kid of ours', none('none', { kid: 'r1' }), unsigned],
    ...['none ', 'hs256', 'HS256 ', 'HS256\0', 'HS1', 'PS256', 'RS512', 'ES512', 'dir', 'A128KW', '', '../HS256'].map((name) => [`alg ${JSON.stringify(name)}`, signRaw('HS256', secret, { alg: name }, claims), name.includes('\0') ? header : alg]),
    ['alg an array', signRaw('HS256', secret, { alg: ['HS256'] }, claims), /^token's header has no alg$/],
    ['alg null', signRaw('HS256', secret, { alg: null }, claims), /^token's header has no alg$/],
    ['alg missing', signRaw('HS256', secret, { typ: 'JWT' }, claims), /^token's header has no alg$/],
    ['HS256 with the PEM of the RSA key', hs(issuer.pem), signature],
    ['HS256 with that PEM without its last newline', hs(issuer.pem.trimEnd()), signature],
    ['HS256 with the DER of the RSA key', hs(spki(lone.publicKey)), signature],
    ['HS256 with the PEM of a key of the set, by its kid', hs(pem(pairs.r1.publicKey), { kid: 'r1' }), alien],
    ['HS384 with the PEM of the EC key, by its kid', signRaw('HS384', pem(pairs.e1.publicKey), { alg: 'HS384', kid: 'e1' }, claims), alien],
    ['HS256 with the x of the Ed25519 key', hs(Buffer.from(pairs.d1.publicKey.export({ format: 'jwk' }).x, 'base64url'), { kid: 'd1' }), alien],
    ['HS256 with the n of the RSA key', hs(lone.publicKey.export({ format: 'jwk' }).n), signature],
    ['HS256 with the whole key set', hs(issuer.jwks), signature],
    ['HS256 with an empty key', hs(''), signature],
    ['HS256 with another secret', hs(crypto.randomBytes(48)), signature],
    ['HS256 with the secret cut short', hs(secret.slice(0, -1)), signature],
    ['the header says HS512 over HS256', signRaw('HS256', secret, { alg: 'HS512' }, claims), signature],
    ['RS256 by another RSA key', signRaw('RS256', keyPair('RS256').privateKey, { alg: 'RS256', kid: 'r1' }, claims), signature],
    ['RS256 of the lone key under the set\'s kid', `${signRaw('RS256', pairs.r1.privateKey, { alg: 'RS256', kid: 'e1' }, claims)}`, signature],
    ['the EC key\'s kid with RS256', signRaw('RS256', keyPair('RS256').privateKey, { alg: 'RS256', kid: 'e1' }, claims), signature],
    ['ES256 by another key', signRaw('ES256', keyPair('ES256').privateKey, { alg: 'ES256', kid: 'e1' }, claims), signature],
    ['ES256 in DER', ec((data) => crypto.sign('sha256', Buffer.from(data), pairs.e1.privateKey)), signature],
    ['ES256 of zeros', ec(() => Buffer.alloc(64)), signature],
    ['ES256 of nothing', ec(() => Buffer.alloc(0)), signature],
    ['EdDSA by another key', signRaw('EdDSA', keyPair('EdDSA').privateKey, { alg: 'EdDSA', kid: 'd1' }, claims), signature],
    ['EdDSA of zeros', `${signRaw('EdDSA', pairs.d1.privateKey, { alg: 'EdDSA', kid: 'd1' }, claims).split('.').slice(0, 2).join('.')}.${Buffer.alloc(64).toString('base64url')}`, signature],
    ['a signature of half its length', `${h}.${p}.${Buffer.from(s, 'base64url').subarray(0, 16).toString('base64url')}`, signature],
    ['a signature with a byte more', `${h}.${p}.${Buffer.concat([Buffer.from(s, 'base64url'), Buffer.alloc(1)]).toString('base64url')}`, signature],
    ['no signature', `${h}.${p}.`, signature],
    ['a payload changed under its signature', `${h}.${Buffer.from(JSON.stringify(issuer.claims({ roles: ['admin'] }))).toString('base64url')}.${s}`, signature],
    ['the own key\'s kid with another key', signRaw('HS256', 'guess', { alg: 'HS256', kid: own.kid }, claims), signature],
    ['the own key\'s secret as text', signRaw('HS256', own.secret.toString('hex'), { alg: 'HS256', kid: own.kid }, claims), signature],
  ];
}

/** By a header that would have us look somewhere. `lure`: the origin of a server that nobody must ask. */
function luring(issuer, own, lure) {
  const evil = keyPair('RS256');
  const jwk = { ...evil.publicKey.export({ format: 'jwk' }), kid: 'evil', alg: 'RS256', use: 'sig' };
  const rs = (more) => signRaw('RS256', evil.privateKey, { alg: 'RS256', ...more }, issuer.claims());
  const hs = (key, more) => signRaw('HS256', key, { alg: 'HS256', ...more }, issuer.claims());
  return [
    ['jku', rs({ jku: `${lure}/jwks.json`, kid: 'evil' }), signature],
    ['jku without a kid', rs({ jku: `${lure}/jwks.json` }), signature],
    ['x5u', rs({ x5u: `${lure}/cert.pem`, kid: 'evil' }), signature],
    ['jwk', rs({ jwk }), signature],
    ['jwk with a kid of ours', rs({ jwk: { ...jwk, kid: 'r1' }, kid: 'r1' }), signature],
    ['x5c', rs({ x5c: [pem(evil.publicKey).replace(/-----[^-]+-----|\n/g, '')] }), signature],
    ['kid a URL', rs({ kid: `${lure}/key.pem` }), signature],
    ['kid a path to an empty file', hs('', { kid: '../../../../../../dev/null' }), signature],
    ['kid an absolute path', hs('', { kid: '/dev/null' }), signature],
    ['kid file://', hs('', { kid: 'file:///etc/hostname' }), signature],
    ['kid with SQL', hs('x', { kid: '\' UNION SELECT \'x\'::bytea --' }), signature],
    ['kid with SQL that sleeps', hs('x', { kid: '\'; SELECT pg_sleep(100); --' }), signature],
    ['kid with a command', hs('x', { kid: '|/usr/bin/id' }), signature],
    ['kid with NUL', hs(issuer.secret, { kid: 'r1\0' }), header],
    ['kid of the own key and NUL', signRaw('HS256', own.secret, { alg: 'HS256', kid: `${own.kid}\0x` }, issuer.claims()), header],
    ['kid a number', hs(issuer.secret, { kid: 1 }), /^token's kid is not a string$/],
    ['kid an object', hs(issuer.secret, { kid: {} }), /^token's kid is not a string$/],
    ['kid of a kilobyte', hs('x', { kid: 'k'.repeat(1000) }), signature],
    ['kid with control bytes', hs('x', { kid: 'r1\r\n2026-01-01T00:00:00.000Z info  forged line\u001b[2J' }), signature],
    ['crit that we do not know', hs(issuer.secret, { crit: ['b64'], b64: false }), /^token's header has crit$/],
    ['crit that we would know', hs(issuer.secret, { crit: ['exp'] }), /^token's header has crit$/],
    ['an empty crit', hs(issuer.secret, { crit: [] }), /^token's header has crit$/],
    ['crit null', hs(issuer.secret, { crit: null }), /^token's header has crit$/],
  ];
}

/** By what the signed claims say. */
function claiming(issuer) {
  const sign = (text, head = { alg: 'HS256' }) => signRaw('HS256', issuer.secret, head, text);
  const made = (more) => sign(issuer.claims(more));
  const json = () => JSON.stringify(issuer.claims());
  const without = (name) => { const claims = issuer.claims(); delete claims[name]; return sign(claims); };
  const spelled = (name, number) => sign(json().replace(new RegExp(`"${name}":\\d+`), `"${name}":${number}`));
  const added = (text) => sign(json().replace('{', `{${text},`));
  return [
    ['no iss', without('iss'), /^token is of another issuer$/], ['another iss', made({ iss: 'https://login.example.evil' }), /^token is of another issuer$/],
    ['iss in capitals', made({ iss: 'HTTPS://login.example' }), /^token is of another issuer$/], ['iss an array', made({ iss: ['https://login.example'] }), /^token is of another issuer$/],
    ['no aud', without('aud'), /^token is for another audience$/], ['another aud', made({ aud: 'feeds2' }), /^token is for another audience$/],
    ['aud of others', made({ aud: ['a', 'b'] }), /^token is for another audience$/], ['aud an object', made({ aud: { feeds: true } }), /^token is for another audience$/],
    ['aud nested', made({ aud: [['feeds']] }), /^token is for another audience$/],
    ['no exp', without('exp'), /^token has no exp$/], ['exp null', made({ exp: null }), time('exp')], ['exp text', made({ exp: String(now() + 600) }), time('exp')], ['exp true', made({ exp: true }), time('exp')],
    ['exp an array', made({ exp: [now() + 600] }), time('exp')], ['exp negative', made({ exp: -1 }), time('exp')],
    ['exp of 2^53 + 1', spelled('exp', '9007199254740993'), time('exp')], ['exp of 2^63', spelled('exp', '9223372036854775808'), time('exp')], ['exp of 2^64 and an hour', spelled('exp', `${2n ** 64n + BigInt(now() + 3600)}`), time('exp')],
    ['exp of 1e400', spelled('exp', '1e400'), /./], ['exp of 1e17', spelled('exp', '1e17'), time('exp')], ['exp NaN', spelled('exp', 'NaN'), payload], ['exp Infinity', spelled('exp', 'Infinity'), payload],
    ['exp at the edge of the leeway', () => made({ exp: now() - LEEWAY_S }), /^token is expired$/], ['exp long ago', made({ exp: 1 }), /^token is expired$/], ['exp 0', made({ exp: 0 }), /^token is expired$/],
    ['nbf just beyond the leeway', () => made({ nbf: now() + LEEWAY_S + 20 }), /^token is not valid yet$/], ['nbf of 2^53 + 1', spelled('iat', '1,"nbf":9007199254740993'), time('nbf')],
    ['nbf of 2^53', spelled('iat', `1,"nbf":${TWO_53}`), /^token is not valid yet$/], ['nbf text', made({ nbf: '0' }), time('nbf')], ['nbf negative', made({ nbf: -5 }), time('nbf')], ['nbf null', made({ nbf: null }), time('nbf')],
    ['iat text', made({ iat: 'x' }), time('iat')], ['iat of 2^53 + 1', spelled('iat', '9007199254740993'), time('iat')], ['iat null', made({ iat: null }), time('iat')],
    ['no user', without('sub'), user], ['user null', made({ sub: null }), user], ['user true', made({ sub: true }), user], ['user an array', made({ sub: ['42'] }), user], ['user an object', made({ sub: { id: 42 } }), user],
    ['user a fraction', made({ sub: 4.2 }), user], ['user 42.0', sign(json().replace('"42"', '42.0')), user], ['user empty', made({ sub: '' }), user], ['user beyond 2^63', sign(json().replace('"42"', '9223372036854775808')), user],
    ['user with NUL', sign(json().replace('"42"', '"42\\u0000"')), /./],
    ['units text', made({ units: '7' }), units], ['units a number', made({ units: 7 }), units], ['units true', made({ units: true }), units], ['units with null', made({ units: [null] }), units], ['units nested', made({ units: [[7]] }), units],
    ['units a fraction', made({ units: [7.5] }), units], ['units an object of text', made({ units: { 7: 'admin' } }), /^token's units' roles are not arrays of strings$/], ['units with a role that is a number', made({ units: { 7: [1] } }), /^token's units' roles/],
    ['sub doubled', added('"sub":"1"'), payload], ['exp doubled', added('"exp":1'), payload], ['sub doubled by an escape', added('"s\\u0075b":"1"'), payload], ['units doubled deep down', sign(json().replace('[7]', '{"7":[],"7":["admin"]}')), payload],
    ['a name with NUL', added('"a\\u0000b":1'), payload], ['single quotes', sign(json().replaceAll('"', '\'')), payload], ['bytes behind the object', sign(`${json()} x`), payload], ['two objects', sign(json() + json()), payload], ['a comment', sign(json().replace('{', '{/* */')), payload],
    ['a BOM', sign(`\ufeff${json()}`), payload], ['no UTF-8', sign(Buffer.from(json().replace('42', '4\xff'), 'latin1')), payload], ['nested a hundred deep', sign(json().replace('[7]', `${'['.repeat(100)}${']'.repeat(100)}`)), payload],
    ['payload an array', sign('[]'), payload], ['payload null', sign('null'), payload], ['payload text', sign('"42"'), payload], ['payload another token', sign(made({})), payload], ['payload empty JSON', sign(' '), payload],
    ['header an array', sign(json(), '[]'), header], ['header text', sign(json(), '"HS256"'), header], ['header with alg doubled', sign(json(), '{"alg":"none","alg":"HS256"}'), header],
    ['header with crit doubled away', sign(json(), '{"alg":"HS256","crit":["x"],"crit":[]}'), header], ['header with a name with NUL', sign(json(), '{"alg":"HS256","alg\\u0000":"none"}'), header],
  ];
}

/** By their spelling. */
function misspelled(issuer) {
  const good = signRaw('HS256', issuer.secret, { alg: 'HS256' }, issuer.claims());
  const [h, p, s] = good.split('.');
  // A header of one byte more: its last letter has bits that mean nothing.
  const [oddHeader] = signRaw('HS256', issuer.secret, '{"alg":"HS256" }', issuer.claims()).split('.');
  return [
    ['no token at all', 'garbage', parts], ['two parts', `${h}.${p}`, parts], ['four parts', `${good}.${s}`, parts], ['five parts, as if encrypted', `${h}..${p}.${s}.${s}`, parts],
    ['only dots', '..', parts], ['no header', `.${p}.${s}`, parts], ['no payload', `${h}..${s}`, parts],
    ['a padded signature', `${good}=`, base64], ['a padded header', `${h}==.${p}.${s}`, base64], ['plain base64', `${h}.${p}.${s.slice(0, -3)}+/A`, base64],
    ['a signature with unused bits set', `${h}.${p}.${uncanonical(s)}`, base64], ['a header with unused bits set', `${uncanonical(oddHeader)}.${p}.${s}`, base64],
    ['a letter too many', `${h}.${p}.${s.slice(0, 41)}`, base64], ['a blank inside', `${h}.${p} .${s}`, base64], ['a percent', `${h}%2e${p}.${s}.`, base64],
    ['letters that are not ASCII', `${h}.${p}.${s.slice(0, -2)}éé`, base64], ['quotes around it', `"${good}"`, base64], ['Bearer twice', `Bearer ${good}`, base64],
  ];
}

/** [name, token or a function that makes it, reason]; each token is different and has a jti of its own. */
export function hostileTokens(issuer, own, lure) {
  return [...forged(issuer, own), ...luring(issuer, own, lure), ...claiming(issuer), ...misspelled(issuer)];
}
