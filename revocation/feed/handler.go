package feed

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil/revocation"
)

// Config says how a Handler serves. Tail, Key, Issuer, Edges and Fresh are required.
type Config struct {
	Tail   *Tail
	Key    Signer // signs the frames: a *Key, or a *Ring that holds several
	Issuer string // whose tokens the log is about, at most 255 bytes
	Edges  *Edges // who may ask

	// Fresh says what this process knows of the log, such as the Status method of its Guard: the list must follow the log through Tail. While it is
	// not fresh nothing is served.
	Fresh func() revocation.Freshness

	// MaxStale is that of the edges. A poll is answered within a third of it, so that one that was lost does not make an edge's list stale. 0 = 10 s.
	MaxStale time.Duration

	MaxClients int // requests at once; 0 = 4096. One more is answered "busy"
	MaxPerEdge int // of which one edge may have; 0 = 64

	// Reached, if there is one, is told of every confirmation. It is called while a request is served, concurrently, so it must be quick. Whether or not there
	// is one, the handler reports how far its edges are to the source of Tail, if that is a revocation.Reporter: whoever revokes waits for them as
	// for those that follow the log itself. There they are called <edge>/<instance>.
	Reached func(Confirmation)

	// Logger is told when nothing can be served, when something can be again, and, every five minutes at most, that an edge was answered "busy". nil =
	// slog.Default().
	Logger *slog.Logger
}

// A Confirmation says that an edge has applied everything up to a position: it asked for what comes next. Several processes may use one
// credential, each confirms for itself.
type Confirmation struct {
	Edge     string              // name of the credential
	Instance string              // of the process that asked, drawn when it started; "" if it does not say
	Position revocation.Position // in the present epoch of the log, and known to this process
	Time     time.Time           // when the request came
}

// A Handler serves the feed; the package comment describes what it answers. There is no useful zero value; NewHandler makes one. It is safe
// for concurrent use. It has at most one goroutine, while there is something to report of its edges; [Handler.Close] ends it.
type Handler struct {
	cfg     Config // with the defaults in place
	seats   seats
	stats   handlerStats
	reports *reports // nil: nobody takes them

	mu           sync.Mutex
	trouble      string    // why nothing can be served
	wholeTrouble string    // why the whole log cannot
	toldBusy     time.Time // when that was logged last
}

// Stats counts what a Handler did.
type Stats struct {
	Clients int    // requests now
	Frames  uint64 // answers with a frame
	Whole   uint64 // of which held the whole log
	Behind  uint64 // answers StatusBehind
	Busy    uint64 // requests too many
	Denied  uint64 // requests without a valid credential

	Reported   uint64 // reports of how far an edge is
	Unreported uint64 // that failed, or that there was no room for
}

type handlerStats struct{ frames, whole, behind, busy, denied atomic.Uint64 }

const (
	defaultClients = 4096
	defaultPerEdge = 64
	tellBusyEach   = 5 * time.Minute
	maxQueryLen    = 1024
	writeTimeout   = time.Minute // for one answer

	// An edge gets a frame at most once in so long, or in paceEach for every client there is: many entries in a row travel together, and the
	// feed does not take more than a core however fast the log grows. What comes after a pause is sent at once.
	paceLeast = 20 * time.Millisecond
	paceEach  = 100 * time.Microsecond
	paceMost  = time.Second
)

// NewHandler makes a Handler. It refuses a configuration that is incomplete or out of bounds.
func NewHandler(cfg Config) (*Handler, error) {
	switch {
	case cfg.Tail == nil || cfg.Key == nil || cfg.Edges == nil || cfg.Fresh == nil:
		return nil, errors.New("feed: Config.Tail, Config.Key, Config.Edges and Config.Fresh are required")
	case cfg.Issuer == "" || len(cfg.Issuer) > 255:
		return nil, errors.New("feed: Config.Issuer is not of 1 to 255 bytes")
	case cfg.MaxStale < 0 || cfg.MaxStale > revocation.Horizon:
		return nil, errors.New("feed: Config.MaxStale is negative or longer than the horizon")
	case cfg.MaxClients < 0 || cfg.MaxPerEdge < 0:
		return nil, errors.New("feed: Config.MaxClients or Config.MaxPerEdge is negative")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.MaxStale == 0 {
		cfg.MaxStale = revocation.DefaultMaxStale
	}
	if cfg.MaxClients == 0 {
		cfg.MaxClients = defaultClients
	}
	if cfg.MaxPerEdge == 0 {
		cfg.MaxPerEdge = defaultPerEdge
	}
	h := &Handler{cfg: cfg, seats: seats{taken: make(map[string]int), most: cfg.MaxClients, each: cfg.MaxPerEdge}}
	if _, ok := cfg.Tail.source.(revocation.Reporter); ok {
		h.reports = newReports(cfg.Tail, cfg.MaxPerEdge)
	}
	return h, nil
}

// Close stops reporting and waits until that has stopped. The handler goes on serving, so close the server first. A second Close is harmless.
func (h *Handler) Close() error {
	if h.reports != nil {
		h.reports.close()
	}
	return nil
}

// Stats returns the counts so far.
func (h *Handler) Stats() Stats {
	s := &h.stats
	stats := Stats{
		Clients: h.seats.count(), Frames: s.frames.Load(), Whole: s.whole.Load(),
		Behind: s.behind.Load(), Busy: s.busy.Load(), Denied: s.denied.Load(),
	}
	if h.reports != nil {
		stats.Reported, stats.Unreported = h.reports.sent.Load(), h.reports.failed.Load()
	}
	return stats
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if r.Method != http.MethodGet && r.Method != http.MethodDelete {
		w.Header().Set("Allow", http.MethodGet+", "+http.MethodDelete)
		refuse(w, http.StatusMethodNotAllowed)
		return
	}
	who, ok := h.cfg.Edges.authenticate(r)
	if !ok {
		h.deny(w)
		return
	}
	q, err := parseRequest(r.URL.RawQuery)
	if err != nil {
		refuse(w, http.StatusBadRequest)
		return
	}
	if r.Method == http.MethodDelete {
		h.leave(w, who, q)
		return
	}
	if !h.seats.take(who.name) {
		h.stats.busy.Add(1)
		h.noteBusy(who.name)
		refuse(w, http.StatusServiceUnavailable)
		return
	}
	defer h.seats.leave(who.name)

	extend(w) // over HTTP/2 a server's own limit ends a poll that only waits
	head, body, err := h.answer(r.Context(), who, q)
	switch {
	case r.Context().Err() != nil: // hardly anybody is there any more
		refuse(w, http.StatusServiceUnavailable)
	case err != nil:
		h.stats.behind.Add(1)
		refuse(w, StatusBehind)
	case !h.cfg.Edges.valid(who): // revoked while it waited
		h.deny(w)
	default:
		h.stats.frames.Add(1)
		if head.Full {
			h.stats.whole.Add(1)
		}
		h.send(w, r, head, body)
	}
}

func (h *Handler) deny(w http.ResponseWriter) {
	h.stats.denied.Add(1)
	w.Header().Set("WWW-Authenticate", `Basic realm="revocation feed", charset="UTF-8"`)
	refuse(w, http.StatusUnauthorized)
}

// refuse says no more than the status does.
func refuse(w http.ResponseWriter, status int) {
	if status == StatusBehind || status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	http.Error(w, http.StatusText(status), status)
}

// request is what is asked for.
type request struct {
	after    revocation.Cursor
	full     bool
	wait     time.Duration
	nonce    [revocation.FrameNonceLen]byte
	instance string
}

var errRequest = errors.New("feed: malformed request")

// parseRequest takes only parameters that it knows, each once.
func parseRequest(query string) (q request, err error) {
	if len(query) > maxQueryLen {
		return q, errRequest
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return q, errRequest
	}
	for name, v := range values {
		ok := len(v) == 1
		switch name {
		case paramAfter:
			q.after, err = revocation.ParseCursor(v[0])
		case paramFull:
			q.full = true
			ok = ok && v[0] == "1"
		case paramWait:
			var valid bool
			q.wait, valid = parseWait(v[0])
			ok = ok && valid
		case paramNonce:
			var n int
			var buf [revocation.FrameNonceLen + 2]byte
			if ok = ok && len(v[0]) == b64.EncodedLen(revocation.FrameNonceLen); ok {
				n, err = b64.Decode(buf[:], []byte(v[0]))
				ok = n == copy(q.nonce[:], buf[:n])
			}
		case paramInstance:
			q.instance = v[0]
			ok = ok && validEdgeName(v[0])
		default:
			ok = false
		}
		if !ok || err != nil {
			return request{}, errRequest
		}
	}
	q.full = q.full || q.after == (revocation.Cursor{})
	return q, nil
}

// parseWait reads seconds, with decimals or without.
func parseWait(s string) (time.Duration, bool) {
	if len(s) == 0 || len(s) > 8 || strings.Trim(s, "0123456789.") != "" {
		return 0, false
	}
	d, err := time.ParseDuration(s + "s")
	return d, err == nil
}

// answer waits until there is something to say, or until that is nothing new. The head it returns lacks what depends on the key.
func (h *Handler) answer(ctx context.Context, who grant, q request) (revocation.FrameHead, *body, error) {
	limit := min(q.wait, h.cfg.MaxStale/3)
	timeout, pace := time.NewTimer(limit), time.NewTimer(h.pace())
	defer timeout.Stop()
	defer pace.Stop()
	over, paced := limit <= 0, limit <= 0
	confirmed := false
	for {
		v := h.cfg.Tail.look(q.after, q.full)
		fresh := h.cfg.Fresh()
		if err := h.servable(v, fresh); err != nil {
			return revocation.FrameHead{}, nil, err
		}
		if (v.is == nothing || v.is == news) && !confirmed {
			confirmed = true
			h.confirm(who, q, v)
		}
		switch {
		case v.is == apart:
			return h.whole(q, fresh)
		case v.is == news && (over || paced || len(v.records) >= partRecords), v.is == nothing && over:
			return h.part(q, v, fresh)
		case v.is == behind && over:
			return revocation.FrameHead{}, nil, errBehind
		}
		select {
		case <-v.changed:
		case <-pace.C:
			paced = true
		case <-timeout.C:
			over = true
		case <-ctx.Done():
			return revocation.FrameHead{}, nil, ctx.Err()
		}
	}
}

var (
	errBehind     = errors.New("feed: the edge knows more than this server")
	errStale      = errors.New("feed: this server's own list is stale")
	errOtherEpoch = errors.New("feed: this server's own list is of another epoch")
)

// servable says whether this process knows the log well enough to speak about it, and logs when that changes.
func (h *Handler) servable(v view, fresh revocation.Freshness) error {
	err := v.err
	switch {
	case err != nil:
	case !fresh.Fresh:
		err = errStale
	case fresh.Epoch != v.epoch:
		err = errOtherEpoch
	}
	h.note(&h.trouble, "feed: nothing can be served", err, fresh)
	return err
}

// note logs err when it is another one than before, and when there is none any more.
func (h *Handler) note(last *string, text string, err error, fresh revocation.Freshness) {
	now := ""
	if err != nil {
		now = err.Error()
	}
	h.mu.Lock()
	changed := *last != now
	*last = now
	h.mu.Unlock()
	switch {
	case !changed:
	case err != nil:
		h.cfg.Logger.Warn(text, "reason", now, "list", fresh.Reason)
	default:
		h.cfg.Logger.Info(text + ": over")
	}
}

// noteBusy logs that there were too many requests at once, now and then: the edge knows the status alone.
func (h *Handler) noteBusy(edge string) {
	now := time.Now()
	h.mu.Lock()
	due := h.toldBusy.IsZero() || now.Sub(h.toldBusy) >= tellBusyEach
	if due {
		h.toldBusy = now
	}
	h.mu.Unlock()
	if due {
		h.cfg.Logger.Warn("feed: too many requests at once (Config.MaxClients, Config.MaxPerEdge)",
			"edge", edge, "clients", h.seats.count(), "most", h.cfg.MaxClients, "each", h.cfg.MaxPerEdge)
	}
}

func (h *Handler) confirm(who grant, q request, v view) {
	if !h.cfg.Edges.valid(who) { // revoked since it was let in: what it says counts no longer
		return
	}
	if h.reports != nil {
		// What the edge has is in the log as this process knows it. Whether the log still is that, is as old as the newest record here.
		h.reports.note(who.name, q.instance, q.after.Position, h.cfg.Tail.now().Sub(v.came))
	}
	if h.cfg.Reached != nil {
		h.cfg.Reached(Confirmation{Edge: who.name, Instance: q.instance, Position: q.after.Position, Time: h.cfg.Tail.now()})
	}
}

// leave notes that an instance of an edge follows no longer, so that nobody waits for it.
func (h *Handler) leave(w http.ResponseWriter, who grant, q request) {
	if q != (request{instance: q.instance, full: true}) { // full is what parseRequest makes of no cursor
		refuse(w, http.StatusBadRequest)
		return
	}
	if h.reports != nil {
		h.reports.note(who.name, q.instance, "", 0)
	}
	w.WriteHeader(http.StatusNoContent)
}

// whole answers with the whole log.
func (h *Handler) whole(q request, fresh revocation.Freshness) (revocation.FrameHead, *body, error) {
	s, err := h.cfg.Tail.snapshot(q.after)
	h.note(&h.wholeTrouble, "feed: the log cannot be served whole", err, fresh)
	if err != nil {
		return revocation.FrameHead{}, nil, err
	}
	head := h.head(q, s.view, fresh)
	head.Full, head.To, head.ToTime = true, s.newest.Position, s.newest.Time
	return head, s.body, nil
}

// part answers with what is newer than the cursor, which may be nothing.
func (h *Handler) part(q request, v view, fresh revocation.Freshness) (revocation.FrameHead, *body, error) {
	var b revocation.FrameBody
	records := v.records[:min(len(v.records), partRecords)]
	for _, r := range records {
		if err := b.AddRecord(r); err != nil {
			return revocation.FrameHead{}, nil, err // the tail has taken it, so it is one
		}
	}
	head := h.head(q, v, fresh)
	head.From, head.To, head.ToTime = q.after.Position, v.newest.Position, v.newest.Time
	if n := len(records); n > 0 {
		head.To, head.ToTime = records[n-1].Position, records[n-1].Time
	}
	return head, newBody(b.Bytes(), b.Count()), nil
}

// head returns what the heads of all frames have.
func (h *Handler) head(q request, v view, fresh revocation.Freshness) revocation.FrameHead {
	head := revocation.FrameHead{Issuer: h.cfg.Issuer, Epoch: v.epoch, Birth: v.birth, Nonce: q.nonce}
	if fresh.Known {
		head.AsOf = fresh.AsOf.UnixMilli()
	}
	if !v.sent.IsZero() {
		head.Age = max(h.cfg.Tail.now().Sub(v.sent), 0)
	}
	return head
}

// send signs and writes a frame.
func (h *Handler) send(w http.ResponseWriter, r *http.Request, head revocation.FrameHead, b *body) {
	head.AsOf = min(head.AsOf, head.ToTime) // the list may know more than this frame says
	head.BodyLen, head.BodySum, head.Count = len(b.bytes), b.sum, b.count
	signed, err := h.cfg.Key.signing().sign(head)
	if err != nil {
		h.cfg.Logger.Error("feed: a frame could not be made", "error", err)
		refuse(w, http.StatusInternalServerError)
		return
	}
	parts := [][]byte{signed, b.bytes}
	header := w.Header()
	header.Set("Content-Type", ContentType)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Vary", "Accept-Encoding")
	if len(b.bytes) >= packedFrom && acceptsGzip(r.Header.Values("Accept-Encoding")) {
		before, after := b.gzipped(signed)
		parts = [][]byte{before, b.packed(), after}
		header.Set("Content-Encoding", "gzip")
	}
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	header.Set("Content-Length", strconv.Itoa(size))
	extend(w)
	for _, p := range parts {
		if _, err := w.Write(p); err != nil {
			return
		}
	}
}

// extend gives an answer its time: whoever reads slowly must not hold a seat for ever, and a server's own limit may be shorter than a poll. Where there are
// no deadlines it is up to the server.
func extend(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
}

// acceptsGzip reads Accept-Encoding (RFC 9110, 12.5.3) as far as it matters here.
func acceptsGzip(values []string) bool {
	for _, v := range values {
		for one := range strings.SplitSeq(v, ",") {
			coding, weight, _ := strings.Cut(one, ";")
			if strings.EqualFold(strings.TrimSpace(coding), "gzip") {
				q, _ := strings.CutPrefix(strings.ReplaceAll(weight, " ", ""), "q=")
				return strings.Trim(q, "0.") != "" || q == ""
			}
		}
	}
	return false
}

func (h *Handler) pace() time.Duration {
	return min(max(paceLeast, time.Duration(h.seats.count())*paceEach), paceMost)
}

// seats bounds how many requests there are at once.
type seats struct {
	most, each int

	mu    sync.Mutex
	all   int
	taken map[string]int
}

func (s *seats) take(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= s.most || s.taken[name] >= s.each {
		return false
	}
	s.all++
	s.taken[name]++
	return true
}

func (s *seats) leave(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.taken[name]--; s.taken[name] == 0 {
		delete(s.taken, name)
	}
}

func (s *seats) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all
}
