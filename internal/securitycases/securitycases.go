// Package securitycases is the list of attacks, abuses and bad inputs that this module has to withstand, and the map of OWASP ASVS
// 5.0 V6 to V9: what docs/security.md and docs/asvs.md are made of. Tests carry the id of the case they answer in their name, in that
// of a subtest or in the words of an assertion; the tests of this package find them, and hold the two documents against them.
package securitycases

// Case is one attack. Its Text says what a caller does and what has to happen.
type Case struct {
	ID   string // a letter and two digits; ids are never used again
	Pri  string // P0: before a release; P1: soon after
	Text string
	Note string // where no test can tell, or there is no such feature: why; and what the reader should know besides
}

// Group is the subject of all cases of a letter.
type Group struct{ Letter, Title string }

// State says how far a requirement is met.
type State string

// The states of a requirement. All but Met say why in words.
const (
	Met    State = "met"
	Partly State = "partly" // or only where the host asks for it
	Host   State = "host"   // the business of the host, its pages or its documents
	NA     State = "n/a"    // there is no such thing here
	Unmet  State = "not met"
)

// Requirement is one of OWASP ASVS 5.0, in a few words of our own.
type Requirement struct {
	ID    string
	Level int
	Text  string
	State State
	By    []string // cases, or tests by their name
	Note  string
}
