import http from 'k6/http';
import { check, sleep, group } from 'k6';
import { randomIntBetween, uuidv4 } from 'https://jslib.k6.io/k6-utils/1.4.0/index.js';

const BASE_URL = __ENV.BASE_URL || 'http://127.0.0.1:8080';
const USERS = ['ann', 'bob'];

export const options = {
  scenarios: {
    browse: { executor: 'ramping-vus', startVUs: 0, stages: [ { duration: '1s', target: 3 }, { duration: '1s', target: 3 } ], gracefulRampDown: '30s' },
    api: { executor: 'constant-arrival-rate', rate: 600, timeUnit: '1m', duration: '2s', preAllocatedVUs: 50, exec: 'api' },
  },
  thresholds: { 'http_req_duration': ['p(95)<500', 'p(99)<1000'], http_req_failed: ['rate<0.01'], checks: ['rate>0.9'] },
};

export function setup() {
  const res = http.post(`${BASE_URL}/oauth/token`, { grant_type: 'client_credentials' }, { headers: { Authorization: 'Basic Y2xpZW50OnMzY3IzdCtwYXNz' } });
  const token = res.json('access_token');
  return { token };
}

export default function (data) {
  group('shop', () => {
    const r = http.get(`${BASE_URL}/p/${randomIntBetween(1, 100)}`, { tags: { name: 'product' } });
    check(r, { 'status is 200': (r) => r.status === 200, 'fast': (r) => r.timings.duration < 500 });
    const id = r.json().id;
    http.post(BASE_URL + '/cart', JSON.stringify({ id: id, user: USERS[0], key: uuidv4() }), { headers: { 'Content-Type': 'application/json' } });
  });
  sleep(randomIntBetween(1, 2));
}

export function api(data) {
  const params = { headers: { Authorization: `Bearer ${data.token}` } };
  const res = http.request('GET', `${BASE_URL}/me`, null, { headers: { Authorization: `Bearer ${data.token}` } });
  http.batch([['GET', `${BASE_URL}/a`], ['POST', `${BASE_URL}/b`, { x: '1' }], `${BASE_URL}/c`]);
}
