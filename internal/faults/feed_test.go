package faults_test

import (
	"bytes"
	"io"
	"net/http"
	"sync"
)

// meddler stands between an edge and its feed and does to answers what it is told to.
type meddler struct {
	next  *http.Transport
	mu    sync.Mutex
	do    func(*http.Request, *http.Response) (*http.Response, error)
	other string // host:port of another server
}

// Redirect has another server answer; "" = the right one.
func (m *meddler) Redirect(addr string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.other = addr
}

// Do has every answer go through f; nil = untouched.
func (m *meddler) Do(f func(*http.Request, *http.Response) (*http.Response, error)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.do = f
}

func (m *meddler) RoundTrip(req *http.Request) (*http.Response, error) {
	m.mu.Lock()
	other := m.other
	m.mu.Unlock()
	if other != "" {
		req = req.Clone(req.Context())
		req.URL.Host = other
	}
	resp, err := m.next.RoundTrip(req)
	m.mu.Lock()
	do := m.do
	m.mu.Unlock()
	if err != nil || do == nil {
		return resp, err
	}
	return do(req, resp)
}

// change alters the bytes of an answer.
func change(f func([]byte) []byte) func(*http.Request, *http.Response) (*http.Response, error) {
	return func(_ *http.Request, resp *http.Response) (*http.Response, error) {
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return nil, err
		}
		b = f(b)
		resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
		resp.Header.Del("Content-Length")
		return resp, nil
	}
}
