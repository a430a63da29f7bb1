/** The library's own browser build, which `npm run build:page` puts beside this folder's modules. */
import cytoscape from 'cytoscape';

export default cytoscape;
