package api

import (
	"maps"
	"slices"

	clewv1 "github.com/clew-sec/clew/api/clew/v1"
	rpc "github.com/clew-sec/clew/api/clew/v1/clewv1connect"
)

// Access says the least role that may call a procedure. It names every one; a test
// compares it with the services.
var Access = map[string]clewv1.Role{
	rpc.TraceServiceListTracesProcedure:         clewv1.Role_ROLE_VIEWER,
	rpc.TraceServiceGetTraceProcedure:           clewv1.Role_ROLE_VIEWER,
	rpc.TraceServiceWatchTracesProcedure:        clewv1.Role_ROLE_VIEWER,
	rpc.TraceServicePreviewSuppressionProcedure: clewv1.Role_ROLE_VIEWER,
	rpc.TraceServiceListSuppressionsProcedure:   clewv1.Role_ROLE_VIEWER,
	rpc.TraceServiceTriageProcedure:             clewv1.Role_ROLE_ANALYST,
	rpc.TraceServiceCreateSuppressionProcedure:  clewv1.Role_ROLE_ANALYST,
	rpc.TraceServiceDeleteSuppressionProcedure:  clewv1.Role_ROLE_ANALYST,
	rpc.TraceServiceExportTraceProcedure:        clewv1.Role_ROLE_ANALYST,
	rpc.EventServiceSearchEventsProcedure:       clewv1.Role_ROLE_VIEWER,
	rpc.EventServiceGetEventProcedure:           clewv1.Role_ROLE_VIEWER,
	rpc.EventServiceGetEntityProcedure:          clewv1.Role_ROLE_VIEWER,
	rpc.SystemServiceGetStatusProcedure:         clewv1.Role_ROLE_VIEWER,
	rpc.SystemServiceGetMatrixProcedure:         clewv1.Role_ROLE_VIEWER,
	rpc.SystemServiceListRulesProcedure:         clewv1.Role_ROLE_VIEWER,
	rpc.SystemServiceListTokensProcedure:        clewv1.Role_ROLE_ADMIN,
	rpc.SystemServiceCreateTokenProcedure:       clewv1.Role_ROLE_ADMIN,
	rpc.SystemServiceRevokeTokenProcedure:       clewv1.Role_ROLE_ADMIN,
	rpc.SystemServiceListActionsProcedure:       clewv1.Role_ROLE_ADMIN,
}

// Procedures returns all procedures, by name. The caller owns the slice.
func Procedures() []string { return slices.Sorted(maps.Keys(Access)) }
