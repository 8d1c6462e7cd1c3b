// A real provider of OpenID Connect (npm oidc-provider) over HTTPS on the loopback, which can be made to
// rotate its keys, go away, and lie.

import https from 'node:https';

import * as jose from 'jose';
import { Provider } from 'oidc-provider';

const CLIENT = { id: 'muster', secret: 'the secret of a client that tests know' };

/// Whoever signs in at the provider, by the name that they type.
function account(name) {
  return {
    accountId: name,
    claims: () => ({
      sub: name,
      email: `${name}@example.com`,
      email_verified: name !== 'unverified',
      groups: name === 'alone' ? [] : ['fleet', `${name}-friends`],
    }),
  };
}

export class Issuer {
  constructor(port, tls, redirects) {
    this.url = `https://127.0.0.1:${port}`;
    this.port = port;
    this.redirects = redirects;
    this.tamper = null;
    this.server = https.createServer(tls, (request, response) => this.handle(request, response));
  }

  async start() {
    if (!this.handle) await this.rotate();
    await new Promise((done) => this.server.listen(this.port, '127.0.0.1', done));
  }

  async stop() {
    this.server.closeAllConnections();
    await new Promise((done) => this.server.close(done));
  }

  /// Another key, and none of the old ones.
  async rotate() {
    const { privateKey } = await jose.generateKeyPair('RS256', { extractable: true });
    this.key = { ...(await jose.exportJWK(privateKey)), alg: 'RS256', use: 'sig' };
    this.key.kid = await jose.calculateJwkThumbprint(this.key);
    this.signer = privateKey;
    const provider = new Provider(this.url, {
      claims: { openid: ['sub'], email: ['email', 'email_verified'], groups: ['groups'], profile: [] },
      clients: [{
        client_id: CLIENT.id,
        client_secret: CLIENT.secret,
        redirect_uris: this.redirects,
        response_types: ['code'],
        grant_types: ['authorization_code'],
      }],
      cookies: { keys: ['a key for cookies in tests'] },
      findAccount: (_context, name) => account(name),
      jwks: { keys: [this.key] },
      pkce: { required: () => true },
      ttl: { Grant: 3600, Interaction: 3600, Session: 3600, AccessToken: 600, IdToken: 600 },
    });
    provider.use(async (context, next) => {
      await next();
      if (context.path === '/token' && context.body?.id_token && this.tamper) {
        const claims = jose.decodeJwt(context.body.id_token);
        context.body.id_token = await this.tamper(claims);
      }
    });
    const callback = provider.callback();
    this.handle = callback;
  }

  /// A token of the issuer's own key with whatever claims.
  async sign(claims, header = {}, key = this.signer) {
    const now = Math.floor(Date.now() / 1000);
    return new jose.SignJWT({ iss: this.url, sub: 's', aud: CLIENT.id, iat: now, exp: now + 600, ...claims })
      .setProtectedHeader({ alg: 'RS256', kid: this.key.kid, ...header })
      .sign(key);
  }

  /// Where people sign in, for `muster auth set-config` and `AUTH_CONFIG`.
  configuration(redirect, more = {}) {
    return {
      issuer: this.url,
      client_id: CLIENT.id,
      client_secret: CLIENT.secret,
      redirect_uri: redirect,
      scopes: ['email', 'profile', 'groups', 'openid'],
      ...more,
    };
  }
}

export const SECRET = CLIENT.secret;
