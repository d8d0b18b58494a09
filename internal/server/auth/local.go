package auth

import "fmt"

// localID is the id of the token that the server leaves in its data folder.
const localID = "local"

// Local makes the token of the operator on the server's machine, an administrator's,
// in place of the one made before. Who may read the file that it is written to may
// read the keys and the log beside it, so a lesser role would protect nothing. Its
// hash is kept in memory only: the token ends with the process.
func (a *Authenticator) Local() string {
	secret := random(32)
	r := Record{ID: localID, Name: "local operator", Role: Admin, Hash: hash(secret), Created: a.cfg.Now().UTC()}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.local = &r
	return "clew_" + localID + "_" + secret
}

// inMemory returns the record of a token of the configuration, or the local one.
func (a *Authenticator) inMemory(id string) (Record, bool) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if r, ok := a.static[id]; ok {
		return r, true
	}
	if a.local != nil && id == localID {
		return *a.local, true
	}
	return Record{}, false
}

// revokeLocal ends the local token until the next start.
func (a *Authenticator) revokeLocal() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.local == nil {
		return fmt.Errorf("revoking token %s: %w", localID, ErrNotFound)
	}
	a.local = nil
	return nil
}

// reserved says that tokens of the configuration may not have the id: the server
// makes its own with it.
func reserved(id string) error {
	if id == localID || id == setupID {
		return fmt.Errorf("the id %q is the server's own, choose another", id)
	}
	return nil
}
