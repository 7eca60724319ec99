// The same small application on Koa with koa-session, or on Express with express-session.
// usage: node server.mjs koa|express PORT REDIS_PORT [while-stdin]
// With the last word it ends with its standard input, and so with whoever started it.
const [, , kind, port, redisPort, life] = process.argv
const pause = async ms => { if (ms) await new Promise(done => setTimeout(done, Number(ms) || 0)) }
if (life === 'while-stdin') process.stdin.on('end', () => process.exit()).resume()

if (kind === 'koa') {
  const { default: Koa } = await import('koa')
  const { default: session } = await import('koa-session')
  const { default: Redis } = await import('ioredis')
  const redis = new Redis(Number(redisPort), '127.0.0.1')
  const app = new Koa()
  app.keys = ['some secret']
  const store = {
    get: async key => JSON.parse(await redis.get(key)),
    set: async (key, value, maxAge) => { await redis.set(key, JSON.stringify(value), 'PX', typeof maxAge === 'number' ? maxAge : 86400000) },
    destroy: async key => { await redis.del(key) },
  }
  app.use((session.createSession ?? session)({ store, prefix: 'koa:' }, app))
  app.use(async ctx => {
    const ms = ctx.query.ms
    switch (ctx.path) {
      case '/login': ctx.session = { user: 'bob', n: 0 }; break
      case '/logout': ctx.session = null; break
      case '/count': { const n = ctx.session.n; await pause(ms); ctx.session.n = n + 1; break }
      case '/write': { const user = ctx.session.user; await pause(ms); ctx.session.last = user + Date.now(); break }
      case '/me':
      case '/read': { const user = ctx.session.user; await pause(ms); ctx.body = user || 'nobody'; return }
      case '/n': ctx.body = String(ctx.session.n); return
    }
    ctx.body = 'ok'
  })
  app.listen(Number(port), '127.0.0.1')
} else {
  const { default: express } = await import('express')
  const { default: session } = await import('express-session')
  const { RedisStore } = await import('connect-redis')
  const { createClient } = await import('redis')
  const client = createClient({ url: `redis://127.0.0.1:${redisPort}` })
  await client.connect()
  const app = express()
  app.use(session({ store: new RedisStore({ client }), secret: 'some secret', resave: false, saveUninitialized: false }))
  app.all('/login', (req, res) => { req.session.user = 'bob'; req.session.n = 0; res.send('ok') })
  app.all('/logout', (req, res) => req.session.destroy(() => res.send('ok')))
  app.all('/count', async (req, res) => { const n = req.session.n; await pause(req.query.ms); req.session.n = n + 1; res.send('ok') })
  app.all('/write', async (req, res) => { const user = req.session.user; await pause(req.query.ms); req.session.last = user + Date.now(); res.send('ok') })
  app.all(['/me', '/read'], async (req, res) => { const user = req.session.user; await pause(req.query.ms); res.send(user || 'nobody') })
  app.all('/n', (req, res) => res.send(String(req.session.n)))
  app.listen(Number(port), '127.0.0.1')
}
