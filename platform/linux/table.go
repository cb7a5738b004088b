package linux

import (
	"encoding/binary"
	"errors"
	"hash/fnv"
)

// row is one process of a table that watchdogs share. It only names a candidate: the watchdog
// reads that process itself before it signals it.
type row struct {
	PID, PGID, SID uint32
	// Label is labelHash of the run ID and worker ID in its environment.
	Label uint64
}

const (
	rowSize    = 20
	headSize   = 24
	tableMagic = uint64(0x01_687361656c_01)
)

var errTable = errors.New("not a table of this version")

// labelHash is a hash of both labels; 0 if one of them is missing.
func labelHash(run, worker string) uint64 {
	if run == "" || worker == "" {
		return 0
	}
	h := fnv.New64a()
	h.Write([]byte(run))
	h.Write([]byte{0})
	h.Write([]byte(worker))
	return h.Sum64()
}

// encodeTable writes head and rows; began says when the scan began.
func encodeTable(began uint64, rows []row) []byte {
	le := binary.LittleEndian
	b := make([]byte, 0, headSize+rowSize*len(rows))
	b = le.AppendUint64(b, tableMagic)
	b = le.AppendUint64(b, began)
	b = le.AppendUint64(b, uint64(len(rows)))
	for _, r := range rows {
		b = le.AppendUint32(b, r.PID)
		b = le.AppendUint32(b, r.PGID)
		b = le.AppendUint32(b, r.SID)
		b = le.AppendUint64(b, r.Label)
	}
	return b
}

// tableBegan is when the scan began; 0 for anything that is not a table.
func tableBegan(head []byte) uint64 {
	if len(head) < headSize || binary.LittleEndian.Uint64(head) != tableMagic {
		return 0
	}
	return binary.LittleEndian.Uint64(head[8:])
}

// eachRow calls f for every row. Torn and foreign files are refused as a whole.
func eachRow(b []byte, f func(row)) error {
	le := binary.LittleEndian
	if tableBegan(b) == 0 || (len(b)-headSize)%rowSize != 0 || le.Uint64(b[16:]) != uint64((len(b)-headSize)/rowSize) {
		return errTable
	}
	for b = b[headSize:]; len(b) >= rowSize; b = b[rowSize:] {
		f(row{le.Uint32(b), le.Uint32(b[4:]), le.Uint32(b[8:]), le.Uint64(b[12:])})
	}
	return nil
}
