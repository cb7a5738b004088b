package ledger

const putsTogether = false
