package httpadapter

import (
	"bufio"
	"io"
	"net/http"
	"time"
)

// Streamer is a ResponseWriter of a server that writes a streamed body after the handler has returned, as fasthttp does. Stream calls produce once;
// produce returns when it has written everything, or when flushing fails because the client has gone. The connection's write deadline, which
// [http.ResponseController] sets meanwhile, stays as it is afterwards.
type Streamer interface {
	Stream(produce func(*bufio.Writer))
}

// stream writes the header and then a body that comes bit by bit: here, or where the server wants it. It calls produce once, whatever becomes of the
// connection; a client that has gone before the header shows when produce flushes.
func stream(w http.ResponseWriter, produce func(*bufio.Writer)) {
	w.WriteHeader(http.StatusOK)
	for u := w; ; {
		if s, ok := u.(Streamer); ok {
			control := http.NewResponseController(u)
			s.Stream(func(out *bufio.Writer) { produce(bufio.NewWriterSize(flusher{out, out.Flush, control}, 4<<10)) })
			return
		}
		wrapped, ok := u.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			break
		}
		u = wrapped.Unwrap()
	}
	control := http.NewResponseController(w)
	f := flusher{w, control.Flush, control}
	f.extend()
	_ = f.flush()
	produce(bufio.NewWriterSize(f, 4<<10))
}

// flusher sends what it is given at once. It sits below a buffer, so that a flush of the buffer is one of the connection.
type flusher struct {
	w       io.Writer
	flush   func() error
	control *http.ResponseController
}

// writeTimeout is how long a client may take for each piece of a stream. Over HTTP/2 it ends a stream that is idle as well, so it is longer than any pause.
const writeTimeout = time.Minute

// extend puts that in the place of the server's WriteTimeout, which is for an answer as a whole. Where there are no deadlines it is up to the server.
func (f flusher) extend() { _ = f.control.SetWriteDeadline(time.Now().Add(writeTimeout)) }

func (f flusher) Write(b []byte) (int, error) {
	f.extend()
	n, err := f.w.Write(b)
	if err != nil {
		return n, err
	}
	return n, f.flush()
}
