//go:build unix

package ledger

const putsTogether = true
