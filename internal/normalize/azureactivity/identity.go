package azureactivity

import (
	"cmp"
	"encoding/json"
	"strings"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/normalize"
)

// claims are the claims of an access token, by short name. Azure writes some
// with their full URI.
type claims map[string]normalize.Text

// claimURIs are the URIs that stand for short names.
var claimURIs = map[string]string{
	"http://schemas.microsoft.com/identity/claims/objectidentifier":      "oid",
	"http://schemas.microsoft.com/identity/claims/tenantid":              "tid",
	"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn":          "upn",
	"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name":         "unique_name",
	"http://schemas.microsoft.com/claims/authnmethodsreferences":         "amr",
	"http://schemas.microsoft.com/identity/claims/identityprovider":      "idp",
	"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress": "email",
}

func parseClaims(raw json.RawMessage) claims {
	raw = normalize.Object(raw)
	var all claims
	normalize.Part(raw, &all)
	out := make(claims, len(all))
	for k, v := range all {
		if short, ok := claimURIs[k]; ok {
			k = short
		}
		out[k] = v
	}
	return out
}

func (c claims) get(k string) string { return string(c[k]) }

// caller fills who called, from the claims of the token where the record has them.
func (r *record) caller(e *event.Event) {
	var id identityPart
	normalize.Part(normalize.Object(r.Identity), &id)
	raw := r.Claims
	for _, other := range []json.RawMessage{id.Claims, id.Claim} {
		if len(raw) == 0 || string(raw) == "null" {
			raw = other
		}
	}
	c := parseClaims(raw)
	var auth authorization
	normalize.Part(normalize.Object(id.Authorization), &auth)
	normalize.Part(normalize.Object(r.Authorization), &auth)
	var http httpRequest
	normalize.Part(normalize.Object(r.HTTPRequest), &http)

	a := &e.Actor
	a.UID = cmp.Or(c.get("oid"), auth.Evidence.PrincipalID)
	a.Name = cmp.Or(string(r.Caller), c.get("upn"), c.get("unique_name"), c.get("email"), a.UID, c.get("appid"), plain(r.Identity))
	a.Account = cmp.Or(c.get("tid"), r.Tenant)
	a.MFA = strings.Contains(c.get("amr"), "mfa")
	a.IP = normalize.Address(cmp.Or(string(r.CallerIP), http.ClientIP, c.get("ipaddr")))
	a.Agent = http.Agent
	if uti := c.get("uti"); uti != "" {
		a.Credential = "azure:" + uti
	}
	class(a, c, auth.Evidence.PrincipalType)
	if a.Name == "" && strings.HasPrefix(strings.ToLower(string(r.Category)), "audit") {
		r.initiator(a)
	}
	if strings.EqualFold(auth.Action, e.Cloud.Action) {
		e.Cloud.Action = auth.Action // in the documented case; diagnostic settings write capitals
	}
	for _, p := range []string{"action=" + auth.Action, "scope=" + auth.Scope, "role=" + auth.Evidence.Role} {
		if !strings.HasSuffix(p, "=") {
			e.Cloud.Params = normalize.AppendNew(e.Cloud.Params, "authorization."+p)
		}
	}
	e.Cloud.Resources = normalize.AppendNew(e.Cloud.Resources, auth.Scope)
}

// class tells users, service principals and managed identities apart by the
// token's claims.
func class(a *event.Actor, c claims, principalType string) {
	a.Kind = event.ActorUser
	switch {
	case c.get("xms_mirid") != "":
		a.Type, a.Role = "ManagedIdentity", c.get("xms_mirid")
	case c.get("idtyp") == "app", c.get("idtyp") == "" && principalType == "ServicePrincipal":
		a.Type, a.Role = "ServicePrincipal", c.get("appid")
	case a.Name == "":
		a.Kind = event.ActorUnknown
	case c.get("idtyp") == "" && c.get("upn") == "" && !strings.Contains(a.Name, "@"):
		a.Type = "ServicePrincipal" // user callers are recorded by their UPN
		a.Role = c.get("appid")
	default:
		a.Type = "User"
	}
}

// plain returns the identity member where it is a plain object id.
func plain(raw json.RawMessage) string {
	var s normalize.Text
	if json.Unmarshal(raw, &s) != nil || strings.HasPrefix(string(s), "{") {
		return ""
	}
	return string(s)
}

// initiator fills the actor of an Entra audit record.
func (r *record) initiator(a *event.Actor) {
	var p struct {
		By struct {
			User struct {
				UPN string `json:"userPrincipalName"`
				ID  string `json:"id"`
				IP  string `json:"ipAddress"`
			} `json:"user"`
			App struct {
				Name        string `json:"displayName"`
				PrincipalID string `json:"servicePrincipalId"`
				AppID       string `json:"appId"`
			} `json:"app"`
		} `json:"initiatedBy"`
	}
	normalize.Part(r.Properties, &p)
	if u := p.By.User; u.ID != "" || u.UPN != "" {
		a.Kind, a.Type, a.Name, a.UID = event.ActorUser, "User", cmp.Or(u.UPN, u.ID), u.ID
		a.IP = cmp.Or(a.IP, normalize.Address(u.IP))
		return
	}
	if app := p.By.App; app.PrincipalID != "" || app.AppID != "" {
		a.Kind, a.Type = event.ActorUser, "ServicePrincipal"
		a.Name, a.UID, a.Role = cmp.Or(app.PrincipalID, app.AppID), app.PrincipalID, app.AppID
	}
}

// signIn fills an Entra sign-in of a user, service principal or managed
// identity. The token handed out is IssuedKey: later calls carry it as uti.
func (r *record) signIn(raw []byte, e *event.Event) {
	s := signIn{}
	part := r.Properties
	if part == nil {
		part = raw // a row of a Log Analytics table
	}
	normalize.Part(part, &s)
	var status signInStatus
	normalize.Part(normalize.Object(s.Status), &status)
	var mi managedIdentity
	normalize.Part(normalize.Object(s.ManagedIdentity), &mi)
	normalize.Part(normalize.Object(s.ManagedRow), &mi)

	c := &e.Cloud
	c.Service, c.Action = "microsoft.aad", "Sign-in"
	c.Account = cmp.Or(s.Tenant, r.Tenant)
	c.RequestID = cmp.Or(s.ID, r.Correlation)
	c.Region = plain(s.Location)
	code := cmp.Or(string(status.Code), string(r.ResultType))
	if code != "" && code != "0" && !strings.EqualFold(code, "Success") {
		c.Error, c.Message = code, normalize.Cut(cmp.Or(status.Reason, string(r.ResultText)))
	}
	c.Resources = normalize.AppendNew(c.Resources, cmp.Or(s.ResourceName, s.ResourceID))
	c.Resources = normalize.AppendNew(c.Resources, mi.Resource)
	c.IdentityIssuer = mi.Issuer
	if c.Error == "" {
		c.IssuedKey = s.TokenID
		c.IssuedRole = cmp.Or(s.PrincipalID, s.UserID)
	}
	for _, p := range []string{
		"federatedCredentialId=" + s.FederatedID, "federatedTokenId=" + mi.TokenID, "servicePrincipalCredentialKeyId=" + s.KeyID,
		"servicePrincipalCredentialThumbprint=" + s.Thumbprint, "appId=" + s.AppID, "appDisplayName=" + s.AppName, "clientAppUsed=" + s.Client,
	} {
		if !strings.HasSuffix(p, "=") {
			c.Params = append(c.Params, normalize.Cut(p))
		}
	}
	s.actor(r, &mi, &e.Actor)
	r.EventTime = cmp.Or(r.EventTime, s.Created)
}

func (s *signIn) actor(r *record, mi *managedIdentity, a *event.Actor) {
	a.Kind = event.ActorUser
	a.Account = r.Tenant
	a.IP = normalize.Address(cmp.Or(s.IP, string(r.CallerIP)))
	a.Agent = s.Agent
	a.MFA = strings.EqualFold(s.Requirement, "multiFactorAuthentication")
	if s.PrincipalID == "" {
		a.Type, a.Name, a.UID = "User", cmp.Or(s.UPN, s.UserID, plain(r.Identity)), s.UserID
		return
	}
	a.Type, a.Name, a.UID, a.Role = "ServicePrincipal", s.PrincipalID, s.PrincipalID, s.AppID
	if mi.Resource != "" || mi.Type != "" || strings.Contains(strings.ToLower(string(r.Category)+r.Table), "managedidentity") {
		a.Type, a.Role = "ManagedIdentity", cmp.Or(mi.Resource, s.AppID)
	}
	if id := cmp.Or(s.KeyID, s.Thumbprint); id != "" {
		a.Credential = "azure:" + id
	}
}
