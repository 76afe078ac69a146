/* SPDX-License-Identifier: Apache-2.0 */
/* connector.h - the five calls of connectors, as protoc-c's table wants them, and who may make them. */
#ifndef GUICHET_ROUTING_CONNECTOR_H
#define GUICHET_ROUTING_CONNECTOR_H

#include "routing.h"

/* For mesh_server_options.authorise; arg is the struct routing. Announce proves itself; all else by token. */
bool routing_connector_authorise(void *arg, struct mesh_request *request, struct err *err);

void routing_connector_announce(Guichet__V1__Connector_Service *service,
                                const Guichet__V1__AnnounceRequest *input,
                                Guichet__V1__AnnounceReply_Closure closure, void *closure_data);
void routing_connector_submit(Guichet__V1__Connector_Service *service,
                              const Guichet__V1__SubmitRequest *input,
                              Guichet__V1__SubmitReply_Closure closure, void *closure_data);
void routing_connector_pull(Guichet__V1__Connector_Service *service, const Guichet__V1__PullRequest *input,
                            Guichet__V1__PullReply_Closure closure, void *closure_data);
void routing_connector_start(Guichet__V1__Connector_Service *service, const Guichet__V1__StartRequest *input,
                             Guichet__V1__StartReply_Closure closure, void *closure_data);
void routing_connector_report(Guichet__V1__Connector_Service *service,
                              const Guichet__V1__ReportRequest *input,
                              Guichet__V1__ReportReply_Closure closure, void *closure_data);
/* Pull on the listener of the short calls, and short calls on that of the long polls. */
void routing_connector_no_pull(Guichet__V1__Connector_Service *service, const Guichet__V1__PullRequest *input,
                               Guichet__V1__PullReply_Closure closure, void *closure_data);

#endif
