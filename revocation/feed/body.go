package feed

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
	"sync"
)

// body is the body of frames for any number of edges. What is made from it is made once.
type body struct {
	bytes  []byte
	count  int // records
	sum    [sha256.Size]byte
	packed func() []byte // compressed, as a DEFLATE stream
}

func newBody(b []byte, count int) *body {
	return &body{bytes: b, count: count, sum: sha256.Sum256(b), packed: sync.OnceValue(func() []byte { return deflate(b) })}
}

// packedFrom is the length from which compressing a body is worth it. Of an entry more than half is random.
const packedFrom = 4 << 10

func deflate(b []byte) []byte {
	var out bytes.Buffer
	out.Grow(len(b))
	w, err := flate.NewWriter(&out, flate.BestSpeed)
	if err != nil {
		panic(err) // the level is one
	}
	w.Write(b) // to memory: it does not fail
	w.Close()
	return out.Bytes()
}

// gzipped returns what comes before and after packed to make head and body a gzip stream (RFC 1952): the head, which differs from edge to edge, in a block that is stored as it
// is (RFC 1951, 3.2.4), so that the compressed body can be shared.
func (b *body) gzipped(head []byte) (before, after []byte) {
	before = append(before, 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff)
	before = append(before, 0) // not the last block, stored
	before = binary.LittleEndian.AppendUint16(before, uint16(len(head)))
	before = binary.LittleEndian.AppendUint16(before, ^uint16(len(head)))
	before = append(before, head...)
	sum := crc32.Update(crc32.ChecksumIEEE(head), crc32.IEEETable, b.bytes)
	after = binary.LittleEndian.AppendUint32(nil, sum)
	return before, binary.LittleEndian.AppendUint32(after, uint32(len(head)+len(b.bytes)))
}
