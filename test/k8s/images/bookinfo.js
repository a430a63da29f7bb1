// Three of the four services of the demonstration that Istio made known; the fourth, ratings, is nginx with
// ratings.conf. node bookinfo.js NAME: each request is one line of standard output, "METHOD STATUS PATH", when it ends.
//
//   /productpage/ID   asks details and reviews, and has a page whatever they say
//   /details/ID       200; ID "missing" is 404, "slow" takes 300 ms
//   /reviews/ID       asks ratings, and is 503 if that is
//   /ratings/ID       200; "broken" is 503
import { Agent, createServer, get } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

const [, , name] = process.argv;
const agent = new Agent({ keepAlive: true });

const services = {
  async productpage(id) {
    const [details, reviews] = await Promise.all([ask('details', id), ask('reviews', id)]);
    return { status: 200, body: { details, reviews } };
  },
  async details(id) {
    if (id === 'slow') await sleep(300);
    return id === 'missing'
      ? { status: 404, body: 'no such book' }
      : { status: 200, body: { id, pages: 200 } };
  },
  async reviews(id) {
    const ratings = await ask('ratings', id);
    return { status: ratings.status === 503 ? 503 : 200, body: { id, ratings } };
  },
};

/** By the name of the service, which the cluster's DNS knows. */
function ask(service, id) {
  return new Promise((resolve, reject) => {
    get({ host: service, port: 9080, path: `/${service}/${id}`, agent }, (response) => {
      response.resume().once('end', () => resolve({ status: response.statusCode }));
    }).once('error', reject);
  });
}

createServer(async (request, response) => {
  const [, service, id] = request.url.split('/');
  const answer = service === name ? services[name](id) : { status: 404, body: 'not here' };
  const { status, body } = await Promise.resolve(answer).catch((error) => ({
    status: 500,
    body: error.message,
  }));
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  response.once('finish', () => console.log(`${request.method} ${status} ${request.url}`));
}).listen(9080);

// The first process of a container gets no signal that it does not ask for.
process.once('SIGTERM', () => process.exit());
