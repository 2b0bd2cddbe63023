// Drives @google-cloud/kms against a server: create, rotate, encrypt, decrypt, grant, list in pages, errors.
//
// Arguments: TRANSPORT (rest or grpc), HOST, PORT, CREDENTIAL (token=FILE or key=FILE), PROJECT, RING.
// Prints one line for each step that held; a step that does not hold ends with an error.
'use strict';

const assert = require('node:assert');
const fs = require('node:fs');
const {KeyManagementServiceClient} = require('@google-cloud/kms');
const {OAuth2Client} = require('google-auth-library');

const LOCATION = 'us-central1';
// As in google.rpc.Code.
const INVALID_ARGUMENT = 3, NOT_FOUND = 5, ALREADY_EXISTS = 6, PERMISSION_DENIED = 7;
const FAILED_PRECONDITION = 9, ABORTED = 10;

const NAMES = {
  [INVALID_ARGUMENT]: 'INVALID_ARGUMENT',
  [NOT_FOUND]: 'NOT_FOUND',
  [ALREADY_EXISTS]: 'ALREADY_EXISTS',
  [PERMISSION_DENIED]: 'PERMISSION_DENIED',
  [FAILED_PRECONDITION]: 'FAILED_PRECONDITION',
  [ABORTED]: 'ABORTED',
};

async function main() {
  const [transport, host, port, credential, project, ring] = process.argv.slice(2);
  const client = connect(transport, host, Number(port), credential);
  const parent = `projects/${project}/locations/${LOCATION}`;
  const [keyRing] = await client.createKeyRing({parent, keyRingId: ring, keyRing: {}});
  assert.strictEqual(keyRing.name, `${parent}/keyRings/${ring}`);
  step('createKeyRing');
  await refused(ALREADY_EXISTS, () => client.createKeyRing({parent, keyRingId: ring, keyRing: {}}));
  step('ALREADY_EXISTS');
  await refused(NOT_FOUND, () => client.getCryptoKey({name: `${keyRing.name}/cryptoKeys/absent`}));
  step('NOT_FOUND');
  const [key] = await client.createCryptoKey({
    parent: keyRing.name,
    cryptoKeyId: 'key',
    cryptoKey: {purpose: 'ENCRYPT_DECRYPT', labels: {team: 'payments'}},
  });
  assert.match(key.primary.name, /\/cryptoKeyVersions\/1$/);
  step('createCryptoKey');

  const plaintext = Buffer.from([0xff, 0xfe, 0x3f, 0x3f, 0x3e, 0x3e]);
  const [sealed] = await client.encrypt({
    name: key.name,
    plaintext,
    plaintextCrc32c: {value: crc32c(plaintext)},
  });
  assert.ok(sealed.verifiedPlaintextCrc32c);
  const ciphertext = bytes(sealed.ciphertext);
  assert.strictEqual(Number(sealed.ciphertextCrc32c.value), crc32c(ciphertext));
  const [opened] = await client.decrypt({name: key.name, ciphertext});
  assert.deepStrictEqual(bytes(opened.plaintext), plaintext);
  step('encrypt, decrypt');
  await refused(INVALID_ARGUMENT, () => client.decrypt({name: key.name, ciphertext: Buffer.from('garbage')}));
  step('INVALID_ARGUMENT');

  const [version] = await client.createCryptoKeyVersion({parent: key.name, cryptoKeyVersion: {}});
  const [rotated] = await client.updateCryptoKeyPrimaryVersion({name: key.name, cryptoKeyVersionId: '2'});
  assert.strictEqual(rotated.primary.name, version.name);
  const [before] = await client.decrypt({name: key.name, ciphertext});
  assert.ok(!before.usedPrimary);
  step('rotate');

  const [policy] = await client.getIamPolicy({resource: key.name});
  const binding = {
    role: 'roles/cloudkms.cryptoKeyEncrypterDecrypter',
    members: ['user:somebody@example.com'],
  };
  const request = {resource: key.name, policy: {bindings: [binding], etag: policy.etag}};
  const [written] = await client.setIamPolicy(request);
  assert.strictEqual(written.bindings[0].role, binding.role);
  step('setIamPolicy');
  await refused(ABORTED, () => client.setIamPolicy(request));
  step('ABORTED');
  await refused(PERMISSION_DENIED, () =>
    client.getKeyRing({name: `projects/somebody-elses/locations/${LOCATION}/keyRings/r`}));
  step('PERMISSION_DENIED');

  for (let number = 0; number < 5; number++) {
    await client.createCryptoKey({
      parent: keyRing.name,
      cryptoKeyId: `listed-${number}`,
      cryptoKey: {purpose: 'ENCRYPT_DECRYPT'},
      skipInitialVersionCreation: true,
    });
  }
  const names = [];
  for await (const listed of client.listCryptoKeysAsync({parent: keyRing.name, pageSize: 2})) {
    names.push(listed.name.split('/').pop());
  }
  assert.deepStrictEqual(names, ['key', 'listed-0', 'listed-1', 'listed-2', 'listed-3', 'listed-4']);
  step('list in pages');

  const disabled = {name: version.name, state: 'DISABLED'};
  await client.updateCryptoKeyVersion({cryptoKeyVersion: disabled, updateMask: {paths: ['state']}});
  const error = await refused(FAILED_PRECONDITION, () => client.encrypt({name: key.name, plaintext}));
  assert.match(error.message, /is not enabled, current state is: DISABLED\./);
  step('FAILED_PRECONDITION');
}

/** Node reads the certificate authority from NODE_EXTRA_CA_CERTS, gRPC from GRPC_DEFAULT_SSL_ROOTS_FILE_PATH. */
function connect(transport, host, port, credential) {
  const [kind, path] = credential.split('=');
  const where = {apiEndpoint: host, port, fallback: transport === 'rest', protocol: 'https'};
  if (kind === 'key') {
    return new KeyManagementServiceClient({...where, keyFilename: path});
  }
  const authClient = new OAuth2Client();
  authClient.setCredentials({access_token: fs.readFileSync(path, 'utf8').trim()});
  return new KeyManagementServiceClient({...where, authClient});
}

/** Over REST bytes are base64, over gRPC a Buffer. */
function bytes(value) {
  return typeof value === 'string' ? Buffer.from(value, 'base64') : Buffer.from(value);
}

function crc32c(data) {
  let crc = 0xffffffff;
  for (const byte of data) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}

async function refused(code, call) {
  try {
    await call();
  } catch (error) {
    // Over REST this client gives the server's whole answer as the message.
    const named = error.message.includes(`"status":"${NAMES[code]}"`);
    assert.ok(error.code === code || named, `${NAMES[code]} was expected, not ${error.code}: ${error.message}`);
    return error;
  }
  throw new Error(`${NAMES[code]} was expected`);
}

function step(name) {
  console.log(`ok ${name}`);
}

main().then(() => process.exit(0), error => {
  console.error(error);
  process.exit(1);
});
